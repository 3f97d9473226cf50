"""LEADING, RECLAIMING, RESIGNING: one term, from the seat that this replica took to its end.

Whoever asks this replica to resign asks its term. A request belongs to the term in which it is made: it is answered
when that ends, however it ends, and none outlives it. Of several requests the first says why and in whose favour; all
of them are answered. Whoever gives up waiting changes nothing.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from dataclasses import dataclass, field, replace

from scheduler_core.domain.election.suspicion import LEAST_SECONDS
from scheduler_core.domain.election.trust import Confirmation, Renewal, State, Verdict, judge
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.election.office import Office
from scheduler_core.engine.election.reasons import SEAT_NOT_RECLAIMED, SEATED_AGAIN
from scheduler_core.engine.election.surroundings import fresh_nonce
from scheduler_core.engine.election.vacancy_watch import SEEN_EVERY_SECONDS, STAND_AGAIN_SECONDS
from scheduler_core.ports.election import Leadership
from scheduler_core.runtime.task_ends import end_tasks

RECLAIM_PAUSE_SECONDS = 0.05
"""Between two attempts to have a control session again."""

BUSY_SHARE = 0.1
"""Of a pause, as processor time: a process that had less of it did nothing."""


@dataclass(frozen=True, slots=True)
class ResignRequest:
    """Somebody wants the term to end: why, in whose favour (None: anybody's), and who waits for it."""

    reason: str
    preferred_successor: str | None = None
    answered: concurrent.futures.Future[None] = field(default_factory=concurrent.futures.Future)

    def answer(self, error: SchedulerError | None) -> None:
        """Tell whoever waits that the term has ended, or why nobody could be told of it."""
        if self.answered.done():
            return
        if error is None:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(error)


class Term:
    """One leadership, from its first beat to its end. Parameters: leadership, as the claim gave it."""

    def __init__(self, office: Office, leadership: Leadership) -> None:
        self._office = office
        self._timing = office.timing
        self._boottime = office.surroundings.boottime
        self._processor_seconds = office.surroundings.processor_seconds
        self._control = office.control
        self._logger: LoggerLike = office.logger
        self._leadership = leadership
        self._beat_at = self._boottime()
        self._used_seconds = self._processor_seconds()
        self._requests: list[ResignRequest] = []
        self._problem: SchedulerError | None = None
        """Why the successor could not be told."""

    def ask_to_resign(self, request: ResignRequest) -> None:
        """End as soon as may be; in the elector's loop."""
        self._requests.append(request)
        self._office.wake.wake()

    async def lead(self) -> None:
        """Lead until the term ends, and answer whoever asked for that."""
        try:
            await self._lead()
        except SchedulerError:
            # The row may still name this replica, and nobody else could lead while its witness is held.
            await self._office.link.close()
            raise
        finally:
            for request in self._requests:
                request.answer(self._problem)

    async def _lead(self) -> None:
        office = self._office
        # The first beat follows the claim at once: a candidate's lease is short.
        next_beat_at = seen_at = self._boottime()
        while not self._ends():
            await office.wake.sleep(next_beat_at - self._boottime())
            if self._ends():
                break
            next_beat_at = self._boottime() + self._timing.beat_every_seconds
            if (stalled_seconds := office.pulse.stalled_seconds) > self._timing.stall_timeout_seconds:
                await self._give_up_stalled(stalled_seconds)
                return
            if not await self._beat():
                return
            if self._boottime() - seen_at >= SEEN_EVERY_SECONDS:
                seen_at = self._boottime()
                await self._show_life()
        await self._resign()

    def _ends(self) -> bool:
        """Whether it is to end by its own will."""
        return self._office.is_stopping or bool(self._requests)

    async def _beat(self) -> bool:
        """Renew and confirm; whether the term goes on."""
        office, leadership = self._office, self._leadership
        sent_at = self._boottime()
        renewal, confirmation = await self._ask()
        verdict = judge(renewal, confirmation, office.lease.outage)
        if verdict is Verdict.RETAKE_LEASE:
            verdict = Verdict.EXTEND if await office.lease.take(leadership, None) else Verdict.STEP_DOWN
        self._note_pause(sent_at)
        if verdict is Verdict.EXTEND:
            office.trust.extend(self._timing.trusted_until(sent_at))
        elif verdict is Verdict.STEP_DOWN:
            office.drop(f"deposed: lease {renewal.value}, term {confirmation.value}")
            if confirmation is not Confirmation.ENDED:
                await self._control.resign(leadership, "lease taken")
            return False
        elif verdict is Verdict.RECLAIM:
            return await self._reclaim()
        return True

    async def _ask(self) -> tuple[Renewal, Confirmation]:
        """Both servers at once. Of a term that has ended nobody waits for the lease: meanwhile its window is open."""
        lease = self._office.lease
        renewing = asyncio.create_task(lease.renew(self._leadership), name="renew and wait")
        try:
            confirmation = await self._confirm()
            ended = confirmation is Confirmation.ENDED
            return Renewal.UNREADABLE if ended else await renewing, confirmation
        finally:
            if not renewing.done():
                await end_tasks(renewing)
                await lease.renew_no_more()

    def _note_pause(self, sent_at: float) -> None:
        """Learn from a pause in one's own beats: of one that was longer than a follower's patience only the deposed
        leader knows that it lived. Not of one in which the process did nothing: it was stopped, and rightly replaced.
        """
        used_seconds = self._processor_seconds()
        pause, busy = sent_at - self._beat_at, used_seconds - self._used_seconds
        self._beat_at, self._used_seconds = sent_at, used_seconds
        if pause < LEAST_SECONDS or (pause < self._timing.ttl_seconds and busy >= pause * BUSY_SHARE):
            self._office.suspicion.learn(pause, sent_at)

    async def _show_life(self) -> None:
        try:
            await self._control.seen()
        except SchedulerError as error:
            self._office.logger.debug("no sign of life: %s", error)

    async def _confirm(self) -> Confirmation:
        try:
            stands = await self._control.confirm(self._leadership)
        except SchedulerError as error:
            self._logger.warning("the control session failed: %s", error)
            return Confirmation.UNREADABLE
        return Confirmation.STANDS if stands else Confirmation.ENDED

    async def _give_up_stalled(self, stalled_seconds: float) -> None:
        """The scheduler's loop is wedged: let somebody lead whose is not."""
        office = self._office
        office.drop(f"the scheduler's loop has not moved for {stalled_seconds:.1f} s")
        # What was begun is not marked yet: that is done by the loop that has not moved.
        await self._control.mark_running(office.pulse.active_runs.as_running())
        await self._control.resign(self._leadership, "stalled")
        await office.lease.release(self._leadership.nonce)

    # RECLAIMING

    async def _reclaim(self) -> bool:
        """Sit down on the same term again within a TTL, if nobody took it; claim nothing meanwhile."""
        office, control = self._office, self._control
        office.states.enter(State.RECLAIMING, "control session lost")
        office.drop("control session lost")
        # One nonce for all attempts: the reply to the first that succeeded may be lost.
        nonce, deadline = fresh_nonce(office.surroundings.dice), self._boottime() + self._timing.ttl_seconds
        while self._boottime() < deadline and not self._ends():
            try:
                await office.link.reopen()
                office.lease.go_by(control.lease_name)
                sent_at = self._boottime()
                seated = await control.reclaim(self._leadership, nonce)
                if seated is None:
                    return False
                if await self._retake_lease(seated, sent_at, deadline):
                    self._leadership, self._beat_at = seated, self._boottime()
                    return True
                await control.resign(seated, "lease taken")
                return False
            except SchedulerError as error:
                self._logger.debug("not seated again yet: %s", error)
                await office.wake.sleep(RECLAIM_PAUSE_SECONDS)
        # An attempt may have succeeded whose reply was lost, or that found no lease.
        await self._end_term(self._request(SEAT_NOT_RECLAIMED), nonce, self._leadership.nonce)
        return False

    async def _retake_lease(self, seated: Leadership, sent_at: float, deadline: float) -> bool:
        """Take the lease under the new nonce, where one is needed.

        A candidate that saw the witness fall may hold it for a moment: it finds the row moved and gives it back. What
        Postgres said is as old as the asking for it (`sent_at`), however long the lease takes.
        """
        office = self._office
        while self._boottime() < deadline and not self._ends():
            if await office.lease.take(seated, self._leadership.nonce):
                office.seat(seated, self._timing.trusted_until(sent_at), SEATED_AGAIN)
                return True
            await office.wake.sleep(STAND_AGAIN_SECONDS)
        return False

    # RESIGNING

    async def _resign(self) -> None:
        office, request = self._office, self._request("stopped")
        office.states.enter(State.RESIGNING, request.reason)
        office.drop(request.reason)
        await self._end_term(request, self._leadership.nonce)

    def _request(self, otherwise: str) -> ResignRequest:
        """Why the term ends: because somebody asked first, or otherwise."""
        return self._requests[0] if self._requests else ResignRequest(otherwise)

    async def _end_term(self, request: ResignRequest, *nonces: str) -> None:
        """Say that the term is over, under each name by which the row may know it.

        Where that can't be said the session goes, and with it the witness: it would keep the seat from everybody for as
        long as this replica lives, and one that drains may live for long.
        """
        office = self._office
        if self._ends():
            office.abstain_until = self._boottime() + self._timing.ttl_seconds
        try:
            for nonce in nonces:
                # The lease first: whoever sees the witness fall finds it free.
                await office.lease.release(nonce)
                leadership = replace(self._leadership, nonce=nonce)
                await self._control.resign(leadership, request.reason, request.preferred_successor)
        except SchedulerError as error:
            self._problem = error
            await office.link.close()
