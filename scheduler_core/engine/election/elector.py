"""The elector: keeps this replica in the election, in a thread of its own. The package tells the protocol."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import Counter
from datetime import datetime

from scheduler_core.domain.election.trust import RedisOutage, State, Timing
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.election.control_link import ControlLink
from scheduler_core.engine.election.exchange import ElectionListener, LoopPulse
from scheduler_core.engine.election.lease_holder import LeaseHolder
from scheduler_core.engine.election.office import Office, StateLog
from scheduler_core.engine.election.surroundings import THIS_MACHINE, ElectionThread, Surroundings, fresh_nonce
from scheduler_core.engine.election.term import ResignRequest, Term
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.election.vacancy_watch import (
    ABSTAIN_SECONDS,
    STAND_AGAIN_SECONDS,
    Vacancy,
    VacancyWatch,
)
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import Instance, Leadership
from scheduler_core.ports.storage import Storage

RECONNECT_SECONDS = (0.05, 1.0)
"""First and longest pause between attempts to reach the servers again."""

SAID_AGAIN_SECONDS = 10.0
"""What keeps a replica from taking part may last for hours: it tries many times a second, and says so this often."""

STOP_MARGIN_SECONDS = 5.0
"""Beyond two TTLs, within which the thread must have left the election."""


class Elector:
    """Parameters: instance, this process; timing, the election's timings; storage, whose control session and lease are
    opened in the elector's thread; trust, where it publishes what may be believed; pulse, what the scheduler publishes;
    listener, called in the elector's thread; uses_lease, False for a process that stands in no election;
    surroundings, of the machine.
    """

    def __init__(
        self,
        *,
        instance: Instance,
        timing: Timing,
        storage: Storage,
        trust: LeaderTrust,
        pulse: LoopPulse,
        listener: ElectionListener,
        redis_outage: RedisOutage,
        logger: LoggerLike,
        uses_lease: bool = True,
        surroundings: Surroundings = THIS_MACHINE,
    ) -> None:
        self._surroundings = surroundings
        self._boottime, self._dice = surroundings.boottime, surroundings.dice
        self._instance = instance
        self._timing = timing
        self._storage = storage
        self._trust = trust
        self._pulse = pulse
        self._listener = listener
        self._redis_outage = redis_outage
        self._uses_lease = uses_lease
        self._logger = logger
        self._states = StateLog(logger)
        self._office: Office | None = None
        self._term: Term | None = None
        self._requests: list[ResignRequest] = []
        """Those that nobody has answered yet, in the order of asking: no thread may end on them."""
        self._thread: ElectionThread | None = None
        self._taking_part: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._finished: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._is_stopping = False
        self._is_retired = False
        self._said = ""
        self._said_at = 0.0

    # What the scheduler's thread asks.

    @property
    def state(self) -> State:
        """Where this replica stands in the election."""
        return self._states.state

    @property
    def transitions(self) -> Counter[tuple[State, State]]:
        """How often it went from which state to which."""
        return self._states.transitions

    @property
    def lease_errors(self) -> int:
        """Times that Redis could not be asked."""
        return 0 if self._office is None else self._office.lease.errors

    @property
    def started_at(self) -> datetime | None:
        """When this replica registered first, by the database's clock."""
        return None if self._office is None else self._office.link.started_at

    @property
    def server(self) -> str | None:
        """Which start of which Postgres this replica is with, by its control session; None before it is with any."""
        return None if self._office is None or self.started_at is None else self._office.control.lease_name.server

    async def start(self) -> None:
        """Start the thread; returns once this replica takes part. Raises what keeps it from that."""
        self._thread = self._surroundings.thread(
            self._main, name="scheduler-elector", logger=self._logger, ended=self._ended
        )
        self._thread.start()
        await _result_of(self._taking_part)

    def retire(self) -> None:
        """Stand for leadership no more: this replica is about to stop."""
        self._is_retired = True
        if self._office is not None:
            self._office.is_retired = True

    async def resign(self, reason: str, preferred_successor: str | None = None) -> None:
        """Give the term up; returns once another replica may lead. Harmless for one that does not lead.

        Parameters: preferred_successor, the instance_id of the replica that is to lead next, if it is there within a
        beat. Whoever stops waiting for this changes nothing: the term ends all the same.
        Raises ServerUnreachableError if nobody could be told: then the lease's TTL tells.
        """
        request = ResignRequest(reason, preferred_successor)
        self._requests.append(request)
        request.answered.add_done_callback(lambda _: self._requests.remove(request))
        if self._thread is None or not self._thread.post(self._take_request, request):
            return
        async with asyncio.timeout(self._timing.ttl_seconds * 2):
            await _result_of(request.answered)

    async def stop(self) -> None:
        """Leave the election, let go of every witness, end the thread."""
        self._is_stopping = True
        if self._thread is None:
            return
        self._thread.post(self._leave)
        async with asyncio.timeout(self._timing.ttl_seconds * 2 + STOP_MARGIN_SECONDS):
            await _result_of(self._finished)
        await self._thread.join(STOP_MARGIN_SECONDS)

    # The elector's thread.

    def _ended(self, error: BaseException | None) -> None:
        """Whoever waits for the thread learns how it ended, and nobody believes in a term of it any more."""
        if error is not None:
            self._logger.error("the elector's thread ended: %r", error)
        if self._trust.drop() is not None:
            self._listener.leadership_changed(None, "the elector ended")
        self._trust.distrust()
        if not self._taking_part.done():
            self._taking_part.set_exception(error or SchedulerError("the scheduler was stopped before it took part"))
        self._finished.set_result(None)
        for request in list(self._requests):
            request.answer(None)

    async def _main(self) -> None:
        office = self._office = self._open_office()
        if self._is_stopping:  # asked before there was anything to leave
            office.is_stopping = True
        pause = RECONNECT_SECONDS[0]
        try:
            while not office.is_stopping:
                try:
                    await office.link.open()
                    office.lease.go_by(office.control.lease_name)
                    pause = RECONNECT_SECONDS[0]
                    await self._take_part(office)
                except Exception as error:  # noqa: BLE001 - a replica that takes part no more helps nobody
                    if not self._taking_part.done():
                        self._taking_part.set_exception(error)
                        return
                    self._say(error)
                    await self._start_over(office, error)
                    await office.wake.sleep(pause * self._dice.uniform(0.8, 1.2))
                    pause = min(pause * 2, RECONNECT_SECONDS[1])
        finally:
            self._states.enter(State.STOPPED, "stopped")
            await office.link.depart()
            await office.lease.close()

    def _say(self, error: Exception) -> None:
        """What is wrong, at once; and the same again once in a while."""
        if str(error) == self._said and self._boottime() - self._said_at < SAID_AGAIN_SECONDS:
            return
        self._said, self._said_at = str(error), self._boottime()
        self._logger.warning("election: %s; trying again", error)

    def _open_office(self) -> Office:
        """In the thread: clients belong to the loop that made them."""
        wake = Wake()
        lease = self._storage.open_lease() if self._uses_lease else None
        link = ControlLink(
            self._storage.open_control(),
            self._instance,
            pulse=self._pulse,
            trust=self._trust,
            listener=self._listener,
            wake=wake,
            logger=self._logger,
        )
        return Office(
            instance=self._instance,
            timing=self._timing,
            link=link,
            lease=LeaseHolder(lease, self._timing, self._redis_outage, self._logger, self._surroundings),
            trust=self._trust,
            states=self._states,
            pulse=self._pulse,
            listener=self._listener,
            wake=wake,
            logger=self._logger,
            surroundings=self._surroundings,
            is_retired=self._is_retired,
        )

    def _leave(self) -> None:
        if self._office is not None:  # else `_main` finds that it was asked to
            self._office.is_stopping = True
            self._office.wake.wake()

    def _take_request(self, request: ResignRequest) -> None:
        if self._term is None:
            # Another request was faster, or the term has ended otherwise.
            request.answer(None)
        else:
            self._term.ask_to_resign(request)

    async def _start_over(self, office: Office, error: Exception) -> None:
        """Nothing is known any more after an error that nobody foresaw: let go of the session, and of the term."""
        if not isinstance(error, SchedulerError):
            self._logger.error("election: unforeseen %r", error)
            await office.link.close()
        office.drop(str(error))

    async def _take_part(self, office: Office) -> None:
        # One look at the leader's row proves that this replica can take part at all.
        await office.control.leader()
        office.states.enter(State.FOLLOWING, "connected")
        if not self._taking_part.done():
            self._taking_part.set_result(None)
        watch = VacancyWatch(office)
        while not office.is_stopping:
            vacancy = await watch.next_vacancy()
            if vacancy is None:
                await office.wake.sleep(ABSTAIN_SECONDS)
                continue
            leadership = await self._stand(office, vacancy)
            if leadership is None:
                await office.wake.sleep(STAND_AGAIN_SECONDS * self._dice.uniform(0.5, 1.5))

    # CANDIDATE

    async def _stand(self, office: Office, vacancy: Vacancy) -> Leadership | None:
        """Stand for the vacant seat and, if it was got, lead until the term ends; None if somebody else has it."""
        office.states.enter(State.CANDIDATE, vacancy.reason)
        nonce = fresh_nonce(self._dice)
        sent_at = self._boottime()
        candidacy = Leadership(vacancy.row.term + 1, nonce, self._instance.instance_id)
        proposed_term = await office.lease.stand(candidacy, vacancy.row.nonce)
        if not proposed_term:
            return None
        leadership = None
        try:
            leadership = await office.control.claim(
                vacancy.row,
                nonce,
                reason=vacancy.reason,
                silent_seconds=self._boottime() - vacancy.alive_at,
                proposed_term=proposed_term,
            )
        finally:
            if leadership is None:
                await office.lease.release(nonce)
        if leadership is None:
            return None
        # Before anybody is told that this replica leads: whoever asks it to resign then finds a term to ask.
        self._term = Term(office, leadership)
        try:
            office.seat(leadership, self._timing.candidate_trusted_until(sent_at), vacancy.reason)
            await self._term.lead()
        finally:
            self._term = None
        return leadership


async def _result_of(future: concurrent.futures.Future[None]) -> None:
    """Wait for the elector's thread. Whoever is cancelled while waiting changes nothing there."""
    waiting = asyncio.wrap_future(future)
    # What is told to nobody any more is no error of the loop's.
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.shield(waiting)
