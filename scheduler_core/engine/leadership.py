"""Who leads, and for how long that may be believed.

Two authorities. A lease in Redis chooses quickly; a numbered term in Postgres decides. A lease can be lost,
expire under a paused process or be held twice after a failover of Redis, so it only elects: every write that
schedules carries its term, and Postgres refuses a stale one. Because the fence makes a false alarm harmless to
the record, a mere hint of the leader's death is enough to take over, and that is why it can be fast.

The hint is a *witness*: an advisory lock on the leader's own session with Postgres, which falls within
milliseconds when the process dies. A stopped or cut-off process keeps it; then the lease's renewal counter tells,
unchanged for 0.95 TTL on the follower's own clock. Absence of the lease proves nothing by itself (FLUSHALL), and an
error is not a death certificate.

A replica is in one state at a time:

FOLLOWING  Wait until the witness of the current nonce falls, or the lease has been silent for 0.95 TTL. A witness
           that fell because Postgres itself restarted counts only together with a silent lease.
STANDING   Take the lease: free, or still carrying the dead leader's token (compare-and-swap). Then take the
           leadership witness under a fresh nonce, and move the leader's row from exactly the (term, nonce) read
           before. Of several candidates one moves it. A lost reply is read again.
LEADING    Four beats per TTL renew the lease and confirm the term, as long as the scheduler's loop moves. The
           trust window ends a margin before a TTL after the last good beat was *sent*. Every start of a run asks
           the window. A token mismatch or an ended term deposes at once; a silent Redis does not, under `hold`.
RESEATING  The control session is gone (Postgres restarted, connection cut). Nothing is claimed. For one TTL the
           replica tries to sit down again on the same term with a new nonce; if somebody took it, it follows.
RESIGNING  The scheduler has handed back what had not started. End the term, release lease and leadership witness:
           a successor leads now, while running work drains here under the life witness. A leader that lacks a due
           job's callback resigns in favour of a replica that has it; the others let that heir go first for a beat.

All this happens in a keeper thread with an event loop of its own, so that a callback that blocks the scheduler's
loop makes fires late and deposes nobody. A loop that has not moved for `stall_timeout` is another matter: then
the keeper stops renewing on purpose.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scheduler_core.domain.errors import NotLeaderError, SchedulerError, ServerUnreachableError
from scheduler_core.domain.run import LoggerLike, Outcome
from scheduler_core.domain.trust import (
    Confirmation,
    LeaseWatch,
    RedisOutage,
    Renewal,
    State,
    Timing,
    Verdict,
    judge,
)
from scheduler_core.engine.clock import boottime
from scheduler_core.ports import ControlSession, Instance, LeaderRow, Leadership, Lease

RECONNECT_SECONDS = (0.05, 1.0)
"""First and longest pause between attempts to reach the servers again."""

STAND_AGAIN_SECONDS = 0.01
"""Pause of a candidate that lost: the winner's row is there within milliseconds."""

ABSTAIN_SECONDS = 0.05
"""Pause of a replica that may not lead, or has just resigned, before it looks again."""

WITNESS_FELL = "witness fell"
LEASE_SILENT = "lease silent"
NOBODY_LED = "nobody led"
SEATED_AGAIN = "seated again"


@dataclass(frozen=True, slots=True)
class Vacancy:
    """The seat is believed to be free: the row as read before, why, and the last sign of life on our own clock."""

    row: LeaderRow
    reason: str
    alive_at: float


@dataclass(frozen=True, slots=True)
class Resignation:
    """What the scheduler asked for: why, in whose favour (None: anybody's), and who waits for it."""

    reason: str
    heir: str | None
    done: concurrent.futures.Future[None]


class Keeper:
    """Keeps this replica in the election, in a thread of its own.

    Parameters: instance, this process; timing, the election's timings; open_control and open_lease, called in
    the keeper's thread; on_change, called in the keeper's thread with the new leadership or None and the reason;
    on_nudge, called there with the job_id that changed ("" for any); callables, the callbacks that it can call;
    begun, what is being called, as outcomes that say `running`.
    """

    def __init__(
        self,
        *,
        instance: Instance,
        timing: Timing,
        open_control: Callable[[], ControlSession],
        open_lease: Callable[[], Lease | None],
        redis_outage: RedisOutage,
        on_change: Callable[[Leadership | None, str], None],
        on_nudge: Callable[[str], None],
        callables: Callable[[], Sequence[str]],
        begun: Callable[[], Sequence[Outcome]],
        logger: LoggerLike,
    ) -> None:
        self._instance = instance
        self._callables = callables
        self._begun = begun
        self._timing = timing
        self._open_control = open_control
        self._open_lease = open_lease
        self._redis_outage = redis_outage
        self._on_change = on_change
        self._on_nudge = on_nudge
        self._logger = logger

        self.state = State.STARTING
        self.transitions: Counter[tuple[State, State]] = Counter()
        self.lease_errors = 0
        self.started_at: Any = None
        self._leadership: Leadership | None = None
        self._trusted_until = 0.0
        self._progress_at = boottime()

        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._taking_part: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._finished: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._wake = asyncio.Event()
        self._stopping = False
        self._resigning: Resignation | None = None
        self._abstain_until = 0.0
        self._retired = False
        self._control: ControlSession | None = None
        self._lease: Lease | None = None

    # What the scheduler's thread asks.

    @property
    def leadership(self) -> Leadership | None:
        """The current leadership while it can be trusted, else None."""
        leadership = self._leadership
        return leadership if leadership is not None and boottime() < self._trusted_until else None

    def trusts(self, term: int) -> bool:
        """Whether a run of this term may start at this very instant."""
        leadership = self._leadership
        return (
            leadership is not None
            and leadership.term == term
            and boottime() < self._trusted_until
            # Without the session the witness has fallen: a successor may have adopted the run already.
            and self.holds_life
        )

    @property
    def stalled_seconds(self) -> float:
        """Since the scheduler's loop last moved."""
        return boottime() - self._progress_at

    def progress(self) -> None:
        """The scheduler's loop moves: called by it, now and then."""
        self._progress_at = boottime()

    @property
    def holds_life(self) -> bool:
        """Whether the life witness is held: while it is, nobody takes over what was begun here."""
        return self._control is not None and self._control.is_open

    @property
    def witnesses_work(self) -> bool:
        return self._control is not None and self._control.witnesses_work

    async def start(self) -> None:
        """Start the thread; returns once this replica takes part. Raises what keeps it from that."""
        self._thread = threading.Thread(target=self._run, name="scheduler-keeper", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(self._taking_part)

    def retire(self) -> None:
        """Stand for leadership no more: this replica is about to stop."""
        self._retired = True

    async def resign(self, reason: str, heir: str | None = None) -> None:
        """Give the term up; returns once another replica may lead. Harmless for one that does not lead.

        Parameters: heir, the replica that is to lead next, if it is there within a beat.
        Raises ServerUnreachableError if nobody could be told: then the lease's TTL tells.
        """
        loop = self._loop
        if loop is None or self._leadership is None or self._finished.done():
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._resigning = Resignation(reason, heir, done)
        loop.call_soon_threadsafe(self._wake.set)
        async with asyncio.timeout(self._timing.ttl_seconds * 2):
            await asyncio.wrap_future(done)

    async def stop(self) -> None:
        """Leave the election, let go of every witness, end the thread."""
        self._stopping = True
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if not self._finished.done():
            loop.call_soon_threadsafe(self._wake.set)
        async with asyncio.timeout(self._timing.ttl_seconds * 2 + 5):
            await asyncio.wrap_future(self._finished)
        thread.join(timeout=5)

    # The keeper's thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - a thread's last words, told to whoever waits for it
            self._logger.error("the keeper thread ended: %r", error)
            if not self._taking_part.done():
                self._taking_part.set_exception(error)
        finally:
            self._drop("keeper ended")
            if not self._taking_part.done():
                self._taking_part.set_exception(SchedulerError("the scheduler was stopped before it took part"))
            self._finished.set_result(None)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        pause = RECONNECT_SECONDS[0]
        try:
            while not self._stopping:
                try:
                    await self._connect()
                    pause = RECONNECT_SECONDS[0]
                    await self._take_part()
                except Exception as error:  # noqa: BLE001 - a replica that takes part no more helps nobody
                    if not self._taking_part.done():
                        self._taking_part.set_exception(error)
                        return
                    self._logger.warning("election: %s; trying again", error)
                    await self._start_over(error)
                    await self._pause(pause * random.uniform(0.8, 1.2))
                    pause = min(pause * 2, RECONNECT_SECONDS[1])
        finally:
            await self._disconnect()

    async def _start_over(self, error: Exception) -> None:
        """Nothing is known any more after an error that nobody foresaw: let go of the session, and of the term."""
        if not isinstance(error, SchedulerError):
            self._logger.error("election: unforeseen %r", error)
            if self._control is not None:
                await self._control.close()
        self._drop(str(error))

    async def _connect(self) -> None:
        if self._control is None or not self._control.is_open:
            control = self._control or self._open_control()
            me = replace(self._instance, callbacks=tuple(self._callables()))
            self.started_at = await control.open(me, self._on_nudge, self._wake.set)
            self._control = control
            if not control.witnesses_work:
                self._logger.warning(
                    "the control session does not keep advisory locks: a transaction pooler stands before "
                    "Postgres. Failover takes the lease's TTL; set control_database_url to a direct address"
                )
        if self._lease is None:
            self._lease = self._open_lease()

    async def _disconnect(self) -> None:
        self._enter(State.STOPPED, "stopped")
        if self._control is not None:
            if self._control.is_open:
                try:
                    await self._control.depart()
                except SchedulerError as error:
                    self._logger.debug("leaving without a word: %s", error)
            await self._control.close()
        if self._lease is not None:
            await self._lease.close()

    async def _take_part(self) -> None:
        control = self._held(self._control)
        # One look at the leader's row proves that this replica can take part at all.
        await control.leader()
        self._enter(State.FOLLOWING, "connected")
        if not self._taking_part.done():
            self._taking_part.set_result(None)
        while not self._stopping:
            vacancy = await self._follow(control)
            if vacancy is None:
                await self._pause(ABSTAIN_SECONDS)
                continue
            leadership = await self._stand(control, vacancy)
            if leadership is not None:
                await self._lead(control, leadership)
            else:
                await self._pause(STAND_AGAIN_SECONDS * random.uniform(0.5, 1.5))

    # FOLLOWING

    async def _follow(self, control: ControlSession) -> Vacancy | None:
        self._enter(State.FOLLOWING, "no vacancy yet")
        watch = self._timing.watch()
        row = await control.leader()
        looking: asyncio.Task[None] | None = None
        follows_since = seen_at = boottime()
        try:
            while not self._stopping:
                if looking is None:
                    looking = asyncio.create_task(self._look(watch), name="look at the lease")
                if row.nonce is None:
                    # Nobody holds the seat: the leader resigned, or there never was one.
                    if self._lets_pass(row, boottime() - follows_since):
                        await self._pause(STAND_AGAIN_SECONDS)
                        row = await control.leader()
                        continue
                    return self._vacancy(row, NOBODY_LED, boottime())
                fell = await self._watch_witness(control, row, watch)
                fell_at = boottime()
                if looking.done():
                    looking = None
                if fell:
                    current = await control.leader()
                    if current != row:
                        row, watch, follows_since = current, self._timing.watch(), boottime()
                        continue
                    if await control.uptime_seconds() > self._timing.ttl_seconds:
                        return self._vacancy(row, WITNESS_FELL, fell_at)
                    # Postgres itself restarted and took every witness along: give the leader time to sit down.
                    await self._pause(ABSTAIN_SECONDS)
                silent = watch.silent_seconds(boottime())
                if silent >= self._timing.silence_seconds and self._lease is not None:
                    return self._vacancy(row, LEASE_SILENT, boottime() - silent)
                if boottime() - seen_at > 1.0:
                    seen_at = boottime()
                    await control.seen()
                    row_now = await control.leader()
                    if row_now != row:
                        row, watch, follows_since = row_now, self._timing.watch(), boottime()
            return None
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    def _lets_pass(self, row: LeaderRow, waited_seconds: float) -> bool:
        """Whether another replica goes first, because the last leader resigned in its favour."""
        others = row.heir is not None and row.heir != self._instance.instance_id
        return others and waited_seconds < self._timing.renew_every_seconds

    def _vacancy(self, row: LeaderRow, reason: str, alive_at: float) -> Vacancy | None:
        stalled = self.stalled_seconds > self._timing.stall_timeout_seconds
        if not self._instance.eligible or self._retired or stalled or boottime() < self._abstain_until:
            return None
        return Vacancy(row, reason, alive_at)

    async def _watch_witness(self, control: ControlSession, row: LeaderRow, watch: LeaseWatch) -> bool:
        """Wait a bounded while for the leader's witness to fall; shorter when the lease is about to run out."""
        until_silent = watch.expires_in(boottime())
        wait = max(0.005, min(self._timing.ttl_seconds / 4, until_silent))
        if not self._instance.eligible:
            await self._pause(min(1.0, self._timing.ttl_seconds))
            return False
        if row.witnessed and control.witnesses_work:
            return await control.await_fall(row, wait)
        await self._pause(min(wait, self._timing.ttl_seconds / 10))
        return False

    async def _look(self, watch: LeaseWatch) -> None:
        """Read the lease into the watch."""
        lease = self._lease
        if lease is None:
            watch.unreadable(boottime())
            return
        try:
            view = await lease.read()
        except SchedulerError:
            self.lease_errors += 1
            watch.unreadable(boottime())
            return
        if view is None:
            watch.look(boottime(), None, 0, 0.0)
            return
        watch.look(boottime(), view.token, view.renewals, view.remaining_seconds)

    # STANDING

    async def _stand(self, control: ControlSession, vacancy: Vacancy) -> Leadership | None:
        self._enter(State.STANDING, vacancy.reason)
        nonce = secrets.token_hex(16)
        sent_at = boottime()
        candidacy = Leadership(vacancy.row.term + 1, nonce, self._instance.instance_id)
        proposed_term = await self._take_lease(candidacy, vacancy.row.nonce, is_new=True)
        if not proposed_term:
            return None
        leadership = None
        try:
            leadership = await control.claim(
                vacancy.row,
                nonce,
                reason=vacancy.reason,
                silent_seconds=boottime() - vacancy.alive_at,
                proposed_term=proposed_term,
            )
        finally:
            if leadership is None:
                await self._release_lease(nonce)
        if leadership is not None:
            self._seat(leadership, self._timing.candidate_trusted_until(sent_at), vacancy.reason)
        return leadership

    async def _take_lease(self, leadership: Leadership, dead_nonce: str | None, *, is_new: bool = False) -> int:
        """Take the lease for a leadership, or a candidacy for a new one; returns the term that it carries, or 0."""
        lease = self._lease
        ttl_seconds = self._timing.candidacy_seconds if is_new else self._timing.ttl_seconds
        try:
            if lease is None:
                raise ServerUnreachableError("no lease")
            return await lease.take(
                leadership.nonce,
                ttl_seconds,
                leadership.instance_id,
                dead_token=dead_nonce,
                term=leadership.term,
                is_new=is_new,
            )
        except ServerUnreachableError as error:
            if self._redis_outage is RedisOutage.STOP:
                raise
            # Under "hold" the compare-and-swap in Postgres decides alone; safety is the same.
            self._logger.warning("standing without Redis: %s", error)
            return leadership.term

    async def _release_lease(self, nonce: str) -> None:
        if self._lease is None:
            return
        try:
            await self._lease.release(nonce)
        except SchedulerError as error:
            self._logger.debug("the lease runs out by itself: %s", error)

    # LEADING

    async def _lead(self, control: ControlSession, leadership: Leadership) -> None:
        # The first beat follows the claim at once: a candidate's lease is short.
        next_beat_at = boottime()
        while not self._stopping or self._resigning is not None:
            await self._pause(next_beat_at - boottime())
            next_beat_at = boottime() + self._timing.renew_every_seconds
            if self._resigning is not None:
                await self._resign_now(control, leadership, self._resigning.reason)
                return
            if self._stopping:
                break
            if (stalled_seconds := self.stalled_seconds) > self._timing.stall_timeout_seconds:
                self._drop(f"the scheduler's loop has not moved for {stalled_seconds:.1f} s")
                # What was begun is not marked yet: that is done by the loop that has not moved.
                await control.mark_begun(self._begun())
                await control.resign(leadership, "stalled")
                await self._release_lease(leadership.nonce)
                return
            sent_at = boottime()
            renewal, confirmation = await asyncio.gather(self._renew(leadership), self._confirm(control, leadership))
            verdict = judge(renewal, confirmation, self._redis_outage)
            if verdict is Verdict.RETAKE_LEASE:
                retaken = await self._take_lease(leadership, None)
                verdict = Verdict.EXTEND if retaken else Verdict.STEP_DOWN
            if verdict is Verdict.EXTEND:
                self._trusted_until = self._timing.trusted_until(sent_at)
            elif verdict is Verdict.STEP_DOWN:
                self._drop(f"deposed: lease {renewal.value}, term {confirmation.value}")
                if confirmation is not Confirmation.ENDED:
                    await control.resign(leadership, "lease taken")
                return
            elif verdict is Verdict.RESEAT:
                seated = await self._reseat(leadership)
                if seated is None:
                    return
                leadership = seated
                control = self._held(self._control)
        await self._resign_now(control, leadership, "stopped")

    async def _renew(self, leadership: Leadership) -> Renewal:
        if self._lease is None:
            return Renewal.UNREADABLE
        try:
            answer = await self._lease.renew(leadership.nonce, self._timing.ttl_seconds, leadership.term)
        except SchedulerError as error:
            self.lease_errors += 1
            self._logger.debug("renewal: %s", error)
            return Renewal.UNREADABLE
        return {True: Renewal.RENEWED, None: Renewal.ABSENT}.get(answer, Renewal.TAKEN)

    async def _confirm(self, control: ControlSession, leadership: Leadership) -> Confirmation:
        try:
            stands = await control.confirm(leadership)
        except SchedulerError as error:
            self._logger.warning("the control session failed: %s", error)
            return Confirmation.UNREADABLE
        return Confirmation.STANDS if stands else Confirmation.ENDED

    # RESEATING

    async def _reseat(self, leadership: Leadership) -> Leadership | None:
        """Sit down on the same term again within a TTL, if nobody took it; claim nothing meanwhile."""
        self._enter(State.RESEATING, "control session lost")
        self._drop("control session lost")
        # One nonce for all attempts: the reply to the first that succeeded may be lost.
        nonce, deadline = secrets.token_hex(16), boottime() + self._timing.ttl_seconds
        while boottime() < deadline and not self._stopping and self._resigning is None:
            try:
                if self._control is not None:
                    await self._control.close()
                await self._connect()
                seated = await self._held(self._control).reseat(leadership, nonce)
                if seated is None:
                    return None
                if await self._retake_lease(seated, leadership.nonce, deadline):
                    return seated
                await self._held(self._control).resign(seated, "lease taken")
                return None
            except SchedulerError as error:
                self._logger.debug("not seated again yet: %s", error)
                await self._pause(RECONNECT_SECONDS[0])
        if self._resigning is not None:
            self._resigning.done.set_exception(NotLeaderError("the control session was lost; the lease's TTL tells"))
            self._resigning = None
        return None

    async def _retake_lease(self, seated: Leadership, former_nonce: str, deadline: float) -> bool:
        """Take the lease under the new nonce. A candidate that saw the witness fall may hold it for a moment: it
        finds the row moved and gives it back."""
        while boottime() < deadline and not self._stopping and self._resigning is None:
            sent_at = boottime()
            if await self._take_lease(seated, former_nonce):
                self._seat(seated, self._timing.trusted_until(sent_at), SEATED_AGAIN)
                return True
            await self._pause(STAND_AGAIN_SECONDS)
        return False

    # RESIGNING

    async def _resign_now(self, control: ControlSession, leadership: Leadership, reason: str) -> None:
        self._enter(State.RESIGNING, reason)
        self._drop(reason)
        # A leader that resigned leaves the seat to the others for a TTL (FIELD: river #1213).
        self._abstain_until = boottime() + self._timing.ttl_seconds
        request, self._resigning = self._resigning, None
        try:
            # The lease first: whoever sees the witness fall finds it free.
            await self._release_lease(leadership.nonce)
            await control.resign(leadership, reason, request.heir if request else None)
        except SchedulerError as error:
            if request is not None:
                request.done.set_exception(error)
            return
        if request is not None:
            request.done.set_result(None)

    # Small things.

    def _seat(self, leadership: Leadership, trusted_until: float, reason: str) -> None:
        self._trusted_until = trusted_until
        self._leadership = leadership
        self._enter(State.LEADING, f"term {leadership.term}, {reason}")
        self._on_change(leadership, reason)

    def _drop(self, reason: str) -> None:
        if self._leadership is None:
            return
        self._trusted_until = 0.0
        self._leadership = None
        self._on_change(None, reason)

    def _enter(self, state: State, reason: str) -> None:
        if state is self.state:
            return
        self.transitions[(self.state, state)] += 1
        self._logger.info("election: %s → %s (%s)", self.state.value, state.value, reason)
        self.state = state

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless asked to resign or stop."""
        if self._resigning is None and not self._stopping:
            self._wake.clear()
        if seconds <= 0:
            return
        waiting = asyncio.create_task(self._wake.wait())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()

    @staticmethod
    def _held(control: ControlSession | None) -> ControlSession:
        assert control is not None
        return control
