"""Taking: runs that a leader has offered, and that this replica executes, whoever leads.

It owns what it has taken, as a leader owns what it has begun, and records its own outcomes. It takes no more than can
begin at once, a little ahead of the instant, and begins each by its own timer. A NOTIFY has it look at once; without
one it looks when the next offered run is due, and every second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from scheduler_core.domain.election.trust import Timing
from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.domain.runs.run import LoggerLike, Outcome, Run
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.fire.claiming import CLAIM_AHEAD_SECONDS
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.job_cache import JobCache
from scheduler_core.engine.fire.recorder import MAX_QUEUED, Recorder
from scheduler_core.engine.fire.slots import Slots
from scheduler_core.engine.fire.start_gate import StartGate
from scheduler_core.engine.fire.start_timers import StartTimers
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.runs import InvalidRun, OfferListener, Runs, Taken

TAKE_EVERY_SECONDS = 0.003
"""Between two looks while there is more: what comes meanwhile is taken together."""

IDLE_SECONDS = 1.0
LISTEN_AGAIN_SECONDS = 0.5
LAST_LOOK_SECONDS = 2.0
"""How long a stop waits for the answer to the last look."""
TAKE_AGAIN_SECONDS = (0.05, 1.0)
"""First and longest pause while Postgres can't be asked."""


class LifeHolder(Protocol):
    """Who knows whether this replica's life witness is held."""

    @property
    def holds_life(self) -> bool: ...


class TakenTrust:
    """The trust window of what was taken: it may begin while nobody can have given its owner up (I7).

    An owner whose witness is gone is given up a TTL after it was first seen to own something, and not before: one that
    was stopped in between must begin nothing when it wakes.

    Parameters: life, which says whether the life witness is held.
    """

    def __init__(self, life: LifeHolder, timing: Timing, machine: MachineClock = SYSTEM_CLOCK) -> None:
        self._boottime = machine.boottime
        self.lost = asyncio.Event()
        self._life = life
        self._trust_seconds = timing.ttl_seconds - timing.margin_seconds
        self._until: dict[UUID, float] = {}

    def take(self, run: Run, sent_at: float) -> None:
        """A run was taken by a statement that was sent then (`boottime`)."""
        self._until[run.run_id] = sent_at + self._trust_seconds

    def forget(self, run: Run) -> None:
        self._until.pop(run.run_id, None)

    def outcomes_recorded(self, outcomes: Sequence[Outcome], _late: object) -> None:
        """These need no trust any more."""
        for outcome in outcomes if self._until else ():
            self._until.pop(outcome.run.run_id, None)

    def allows(self, run: Run) -> bool:
        """Whether what was taken may begin at this very instant."""
        return self._life.holds_life and self._boottime() < self._until.get(run.run_id, 0.0)

    @property
    def holds_life(self) -> bool:
        return self._life.holds_life


class Taking:
    """Parameters: jobs, where the definitions of what is taken come from; executors, for which this replica executes;
    slots, how many callbacks at once; timers, which each taken run is given to; in_flight, what was taken and has not
    ended; wake, ends its sleep.
    """

    def __init__(
        self,
        runs: Runs,
        instance_id: str,
        *,
        jobs: JobCache,
        executors: Sequence[str],
        slots_count: int,
        slots: Slots,
        offers: OfferListener,
        trust: TakenTrust,
        in_flight: InFlightRuns,
        timers: StartTimers,
        start_gate: StartGate,
        recorder: Recorder,
        logger: LoggerLike,
        machine: MachineClock = SYSTEM_CLOCK,
    ) -> None:
        self.wake = Wake()
        self._boottime, self._monotonic = machine.boottime, machine.monotonic
        self._runs = runs
        self._instance_id = instance_id
        self._jobs = jobs
        self._executors = tuple(executors)
        self._slots_count = slots_count
        self._slots = slots
        self._offers = offers
        self._trust = trust
        self._in_flight = in_flight
        self._timers = timers
        self._start_gate = start_gate
        self._recorder = recorder
        self._logger = logger
        self._unanswered_at: float | None = None
        """When a look was sent that nobody answered: what it took is to be found."""
        self._early: list[Run] = []
        """Taken again before it was noted here that the attempt before had ended."""
        self._alone: UUID | None = None
        """Taken last of those that begin beside no other."""
        self._pause = TAKE_AGAIN_SECONDS[0]
        self._is_deaf = False
        self._is_closed = False
        self._is_looking = False
        """Whether Postgres may be at a statement whose answer brings runs."""
        self._has_looked = asyncio.Event()

    async def close(self) -> None:
        """Take nothing more; returns once what a look has brought is in flight, or nobody can say what it brought."""
        self._is_closed = True
        self.wake.wake()
        try:
            async with asyncio.timeout(LAST_LOOK_SECONDS):
                while self._is_looking or self._unanswered_at is not None:
                    self._has_looked.clear()
                    await self._has_looked.wait()
        except TimeoutError:
            self._logger.warning("a look at offered runs was not answered: recovery finds what it took")

    async def listen(self) -> None:
        """Hear of offers, for ever; without that they are found by looking."""
        while True:
            try:
                await self._offers.listen(self.wake.wake)
            except SchedulerError as error:
                if not self._is_deaf:
                    self._logger.warning("offered runs are looked for once a second: %s", error)
                self._is_deaf = True
            else:
                self._is_deaf = False
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    async def work(self) -> None:
        """Take what is offered, until `close`."""
        while not self._is_closed or self._unanswered_at is not None:
            if self._unanswered_at is None and self._in_flight.unended >= self._slots_count:
                # The callbacks have all the slots: the next one that is free is worth a look.
                async with self._slots.of_all:
                    pass
                pause = TAKE_EVERY_SECONDS
            else:
                pause = await self._look_or_pause()
            await self.wake.sleep(pause)

    async def _look_or_pause(self) -> float:
        """Look, whatever comes of it; returns the seconds until the next look."""
        self._is_looking = True
        try:
            pause = await self._look()
            self._pause = TAKE_AGAIN_SECONDS[0]
        except SchedulerError as error:
            self._logger.warning("taking offered runs pauses: %s", error)
            pause, self._pause = self._pause, min(self._pause * 2, TAKE_AGAIN_SECONDS[1])
        finally:
            self._is_looking = False
            self._has_looked.set()
        return pause

    async def _look(self) -> float:
        """Take what there is room for; returns the seconds until there may be more."""
        if self._unanswered_at is not None:
            await self._begin(await self._runs.taken(self._instance_id, self._in_flight.run_ids()), self._unanswered_at)
            self._unanswered_at = None
            return 0.0
        self._begin_early()
        is_beginning = self._alone is not None and self._in_flight.is_beginning(self._alone)
        takes_alone = self._start_gate.is_idle and not is_beginning
        room = self._slots_count - self._in_flight.unended
        if room <= 0 or not self._trust.holds_life or self._recorder.queued > MAX_QUEUED // 2:
            return 10 * TAKE_EVERY_SECONDS
        began, sent_at = self._monotonic(), self._boottime()
        try:
            taken = await self._runs.take_offered(
                self._instance_id,
                self._executors,
                ahead_seconds=CLAIM_AHEAD_SECONDS,
                limit=room,
                takes_alone=takes_alone,
                passed_over=self._in_flight.passed_over(),
            )
        except ServerUnreachableError:
            self._unanswered_at = sent_at
            raise
        await self._begin(taken, sent_at)
        if taken.seen >= room or taken.seen > len(taken.runs) or self._early or not takes_alone:
            return TAKE_EVERY_SECONDS
        if taken.next_at is None:
            return IDLE_SECONDS
        until = (taken.next_at - taken.now).total_seconds() - (self._monotonic() - began)
        if until <= CLAIM_AHEAD_SECONDS:
            # What is left alone before its instant is there at its instant.
            return max(TAKE_EVERY_SECONDS, until)
        return min(until - CLAIM_AHEAD_SECONDS, IDLE_SECONDS)

    async def _begin(self, taken: Taken, sent_at: float) -> None:
        try:
            await self._jobs.have_ready(run for run in taken.runs if isinstance(run, Run))
        except SchedulerError as error:
            self._logger.debug("the jobs of what was taken are read one by one: %s", error)
        for run in taken.runs:
            if isinstance(run, InvalidRun):
                self._logger.error("run %s of job %r can't be read: %s", run.run_id, run.job_id, run.problem)
                continue
            self._trust.take(run, sent_at)
            if run.run_id in taken.alone:
                self._alone = run.run_id
            if run.run_id in self._in_flight:
                self._early.append(run)
            else:
                self._timers.arrange(run, in_order=True)

    def _begin_early(self) -> None:
        early, self._early = self._early, []
        for run in early:
            if run.run_id in self._in_flight:
                self._early.append(run)
            else:
                self._timers.arrange(run, in_order=True)
