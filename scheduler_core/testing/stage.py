"""The runs in flight: when they begin, and when all that began has come to rest.

They are executed by the product's own code, from their turn to their outcome; only the clock is put in, and what it
writes to is the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from uuid import UUID

from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import LoggerLike, Run
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.fire.attempts import Attempts
from scheduler_core.engine.fire.callback_call import CallbackCall
from scheduler_core.engine.fire.elsewhere import RunsElsewhere
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.overlap_gate import OverlapGate
from scheduler_core.engine.fire.retry import Retry
from scheduler_core.engine.fire.run_executor import RunExecutor
from scheduler_core.engine.fire.run_lock import RunLocks
from scheduler_core.engine.fire.slots import Slots
from scheduler_core.engine.fire.start_gate import StartGate
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import Locks
from scheduler_core.ports.runs import HeldRun
from scheduler_core.testing.clock import VirtualClock
from scheduler_core.testing.errors import VirtualTimeError
from scheduler_core.testing.ledger import Ledger
from scheduler_core.testing.ledger_journal import LedgerJournal
from scheduler_core.testing.ledger_limits import LedgerLimits

QUIET_PASSES = 10
"""Turns of the event loop without news until everything is taken to rest: tasks that wake one another need a few."""

MOST_AT_ONCE = 100_000


class FullTrust:
    """The trust window of the only process there is."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def allows(self, _run: Run) -> bool:
        return True

    @property
    def holds_life(self) -> bool:
        return True


class NobodyElse:
    """Of the only process there is: no run is anybody else's."""

    async def unfinished_among(self, _held: Sequence[HeldRun]) -> frozenset[UUID]:
        return frozenset()


class LedgerJobs:
    """Jobs as the ledger has them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def get(self, job_id: str, _version: int) -> StoredJob | None:
        return self._ledger.jobs.get(job_id)

    async def find(self, job_id: str, _version: int) -> StoredJob | None:
        return self._ledger.jobs.get(job_id)

    def invalidate(self, _job_id: str) -> None:
        return


class Stage:
    """Parameters: locks, for jobs with `use_distributed_lock`; retry_jitter, the share of `retry_delay` by which waits
    vary; patience_seconds, in earnest, until callbacks that neither end nor sleep are called hung.
    """

    def __init__(
        self,
        clock: VirtualClock,
        ledger: Ledger,
        callbacks: CallbackRegistry,
        *,
        locks: Locks,
        threads: Executor,
        retry_jitter: float,
        patience_seconds: float,
        logger: LoggerLike,
    ) -> None:
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._journal = journal = LedgerJournal(clock, ledger)
        self._in_flight = in_flight = InFlightRuns(clock, journal, Wake(), logger)
        trust, elsewhere, gate, slots = FullTrust(), RunsElsewhere(NobodyElse()), StartGate(), Slots(MOST_AT_ONCE)
        elsewhere.survey((), 0.0)
        limits = LedgerLimits(clock)
        journal.listeners += [in_flight, gate, limits]
        attempts = Attempts(
            journal=journal,
            call=CallbackCall(trust, journal, threads, clock),
            trust=trust,
            clock=clock,
            slots=slots,
            gate=gate,
            retry=Retry(retry_jitter),
            logger=logger,
            starts_durably=True,
        )
        self._executor = RunExecutor(
            clock=clock,
            journal=journal,
            trust=trust,
            in_flight=in_flight,
            jobs=LedgerJobs(ledger),
            callbacks=callbacks,
            gate=OverlapGate(clock, journal, elsewhere, trust),
            slots={LOCAL: slots},
            locks=RunLocks(lambda: locks, logger),
            attempts=attempts,
            logger=logger,
            limits=limits,
        )

    @property
    def is_busy(self) -> bool:
        """Whether a run executes, sleeps, or waits for a retry or its turn."""
        return bool(self._executor.tasks)

    @property
    def cast(self) -> str:
        """Whose callbacks are at work, and the verb."""
        names = sorted({task.get_name().removeprefix("run ") for task in self._tasks})
        return f"the callback of {names[0]} is" if len(names) == 1 else f"callbacks of {', '.join(names[:5])} are"

    @property
    def _tasks(self) -> Sequence[asyncio.Task[None]]:
        return list(self._executor.tasks.values())

    def arrange(self, run: Run, *, in_order: bool) -> None:
        """Let a run begin, wait for its job's turn, or skip, by the overlap policy."""
        self._journal.open()
        self._in_flight.schedule(run)
        with self._clock.on_behalf_of(run.run_id):
            self._executor.start(run, in_order=in_order)

    async def settle(self) -> None:
        """Wait until every run that began has ended or sleeps on the clock. Raises VirtualTimeError if one hangs."""
        seen = -1
        while seen != self._clock.changes:
            seen = self._clock.changes
            await self._until_asleep()
            for _ in range(QUIET_PASSES):
                await asyncio.sleep(0)

    async def cancel(self) -> None:
        """Cut off what executes, and forget what waits."""
        self._journal.close()
        tasks = self._tasks
        for active in self._in_flight.active():
            active.stop()
        for task in tasks:
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_asleep(self) -> None:
        try:
            async with asyncio.timeout(self._patience_seconds) as limit:
                while not all(self._clock.is_asleep(active.run.run_id) for active in self._in_flight.active()):
                    await self._clock.changed()
        except TimeoutError:
            if not limit.expired():
                raise
            raise VirtualTimeError(
                f"{self.cast} neither ended nor asleep on the virtual clock after {self._patience_seconds:g} s in "
                "earnest: await clock.sleep(...) where the callback waits, or replace what it waits for"
            ) from None
