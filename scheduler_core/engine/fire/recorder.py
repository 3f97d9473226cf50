"""Writing down what happened, in batches.

Outcomes queue up while a batch is being written; the next batch takes them all (group commit). The queue has a
bound: where Postgres is slower than the callbacks, `record` waits, and with it the runs. Whatever Postgres answers,
the same batch is tried again, because an outcome that is written twice changes nothing: out of reach, read-only, full,
a right that somebody took. Only what can't be stored at all is given up, for a plainer word. What is refused for a
reason that nobody foresaw (a trigger of somebody's) waits by itself, and holds up no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from scheduler_core.domain.errors import SchedulerError, SchemaError, ServerUnreachableError, UnstorableError
from scheduler_core.domain.runs.run import Failure, LoggerLike, Outcome
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.supervision import keep_going
from scheduler_core.ports.runs import Runs
from scheduler_core.runtime.task_ends import end_tasks

MAX_BATCH = 2_000
MAX_QUEUED = 20_000
RETRY_SECONDS = (0.05, 1.0)
UNSTORABLE = "Unstorable"
MAX_UNSETTLED_TRIES = 20
"""Then the row is gone, and there is nothing left that an outcome could be written to."""


class RecorderClosedError(SchedulerError):
    """Nothing is written down here any more: recovery settles the run."""


class OutcomeListener(Protocol):
    """Who is told what has become durable."""

    def outcomes_recorded(self, outcomes: Sequence[Outcome], late: Set[UUID]) -> None:
        """These outcomes are durable; those of the runs in `late` came after somebody else had taken the run."""


@dataclass(slots=True)
class _Entry:
    """An outcome that waits, whoever waits for it, and whether it goes alone because it was refused by itself."""

    outcome: Outcome
    written: asyncio.Future[bool] | None = None
    goes_alone: bool = False

    def answer(self, answer: bool | SchedulerError) -> None:
        if self.written is None or self.written.done():
            return
        if isinstance(answer, bool):
            self.written.set_result(answer)
        else:
            self.written.set_exception(answer)
            self.written.exception()  # whoever waited may be gone


@dataclass(frozen=True, slots=True)
class _Written:
    """Of a batch: the runs that somebody else had taken, those whose row is gone, those refused by themselves."""

    late: set[UUID] = field(default_factory=set)
    gone: set[UUID] = field(default_factory=set)
    refused: set[UUID] = field(default_factory=set)


class Recorder:
    """One writer of outcomes.

    Parameters: runs, where they go; instance_id, whose they are. Add to `listeners` before it starts.
    """

    def __init__(
        self,
        runs: Runs,
        instance_id: str,
        *,
        counters: Counters,
        logger: LoggerLike,
        machine: MachineClock = SYSTEM_CLOCK,
    ) -> None:
        self.listeners: list[OutcomeListener] = []
        self._runs = runs
        self._instance_id = instance_id
        self._counters = counters
        self._monotonic = machine.monotonic
        self._logger = logger
        self._queue: deque[_Entry] = deque()
        self._refused: list[_Entry] = []
        """What was refused by itself, until it is tried again."""
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._batch: list[_Entry] = []

    def start(self) -> None:
        self._task = asyncio.create_task(
            keep_going(self._write, "scheduler recorder", self._logger), name="scheduler recorder"
        )
        self._task.add_done_callback(self._close)

    @property
    def is_open(self) -> bool:
        """Whether anything is still written: not once this is stopped, or its task is being cancelled by others."""
        return self._task is not None and not self._task.done() and not self._task.cancelling()

    @property
    def queued(self) -> int:
        return len(self._queue) + len(self._refused)

    async def start_run(self, active: ActiveRun) -> bool:
        """Mark a run as running before its callback is called; False if it is not ours any more.

        Raises SchedulerError where nothing is known of it: asked again, it says the same.
        """
        return await self._runs.start(active.as_running(), self._instance_id)

    async def record(self, outcome: Outcome) -> None:
        """Queue an outcome; waits only while the queue is full."""
        while self.queued >= MAX_QUEUED and self.is_open:
            self._room.clear()
            await self._room.wait()
        self.record_soon(outcome)

    def record_soon(self, outcome: Outcome, written: asyncio.Future[bool] | None = None) -> None:
        """Queue an outcome at once: for the few that come from outside a run."""
        self._queue.append(_Entry(outcome, written))
        self._idle.clear()
        self._filled.set()

    async def record_durably(self, outcome: Outcome) -> bool:
        """Queue an outcome and return once it is committed; False if the run's row is gone.

        Raises RecorderClosedError where it never will be.
        """
        if not self.is_open:
            raise RecorderClosedError(f"the outcome of {outcome.run.idempotency_key} comes after the stop")
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.record_soon(outcome, written)
        return await written

    async def flush(self, timeout_seconds: float) -> bool:
        """Wait until everything queued is durable; False if `timeout_seconds` were not enough."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, timeout_seconds: float) -> None:
        """Write what is queued, for at most `timeout_seconds`, and end."""
        if not await self.flush(timeout_seconds):
            self._logger.error(
                "%d outcomes could not be written before the stop; recovery will settle their runs",
                self.queued + len(self._batch),
            )
        if self._task is not None:
            await end_tasks(self._task)

    def _close(self, _task: asyncio.Task[None]) -> None:
        """Nothing more is written: whoever waits for it waits in vain."""
        self._room.set()
        for entry in (*self._batch, *self._queue, *self._refused):
            entry.answer(RecorderClosedError("the recorder has ended: recovery settles the run"))

    async def _write(self) -> None:
        while True:
            await self._filled.wait()
            # A batch that an unforeseen error threw out is written again.
            self._batch = self._batch or self._next_batch()
            written = _Written()
            await self._write_batch([entry.outcome for entry in self._batch], written)
            self._settle(self._batch, written)
            self._batch = []
            if self.queued < MAX_QUEUED:
                self._room.set()
            if not self._queue:
                self._filled.clear()
                if not self._refused:
                    self._idle.set()

    def _settle(self, batch: Sequence[_Entry], written: _Written) -> None:
        """Tell what has become durable; what was refused waits by itself."""
        recorded = [entry for entry in batch if entry.outcome.run.run_id not in written.refused]
        for entry in recorded:
            entry.answer(entry.outcome.run.run_id not in written.gone)
        for listener in self.listeners:
            listener.outcomes_recorded([entry.outcome for entry in recorded], frozenset(written.late))
        if not written.refused:
            return
        if not self._refused:
            asyncio.get_running_loop().call_later(RETRY_SECONDS[1], self._try_refused_again)
        for entry in batch:
            if entry.outcome.run.run_id in written.refused:
                entry.goes_alone = True
                self._refused.append(entry)

    def _try_refused_again(self) -> None:
        self._queue.extendleft(reversed(self._refused))
        self._refused.clear()
        self._filled.set()

    def _next_batch(self) -> list[_Entry]:
        """The oldest outcomes, at most one per run: a run's second waits for the next batch."""
        batch: list[_Entry] = []
        seen: set[UUID] = set()
        while self._queue and len(batch) < MAX_BATCH:
            entry = self._queue[0]
            if entry.outcome.run.run_id in seen or (entry.goes_alone and batch):
                break
            seen.add(entry.outcome.run.run_id)
            batch.append(self._queue.popleft())
            if entry.goes_alone:
                break
        return batch

    async def _write_batch(self, outcomes: Sequence[Outcome], written: _Written) -> None:
        pause, tries = RETRY_SECONDS[0], 0
        while True:
            try:
                sent_at = self._monotonic()
                recorded = await self._runs.record(outcomes, self._instance_id)
                self._counters.write_seconds.see(self._monotonic() - sent_at)
                written.late.update(recorded.late)
                outcomes = [outcome for outcome in outcomes if outcome.run.run_id in recorded.unsettled]
                tries += 1
                if not outcomes or tries == MAX_UNSETTLED_TRIES:
                    self._give_up(outcomes, written)
                    return
                await asyncio.sleep(RETRY_SECONDS[0])
            except (ServerUnreachableError, SchemaError) as error:
                self._counters.write_errors += 1
                self._logger.warning("%d outcomes wait for Postgres: %s", len(outcomes), error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_SECONDS[1])
            except SchedulerError as error:
                await self._write_each(outcomes, written, error)
                return

    async def _write_each(self, outcomes: Sequence[Outcome], written: _Written, error: SchedulerError) -> None:
        """What Postgres refuses because of what it says: none must take the others along."""
        if len(outcomes) > 1:
            for outcome in outcomes:
                await self._write_batch([outcome], written)
        elif isinstance(error, UnstorableError):
            await self._write_plainly(outcomes[0], written, error)
        else:
            self._counters.write_errors += 1
            self._logger.error("the outcome of %s waits: %s", outcomes[0].run.idempotency_key, error)
            written.refused.add(outcomes[0].run.run_id)

    def _give_up(self, outcomes: Sequence[Outcome], written: _Written) -> None:
        for outcome in outcomes:
            written.gone.add(outcome.run.run_id)
            self._logger.error("the row of run %s is gone: its outcome is not recorded", outcome.run.idempotency_key)

    async def _write_plainly(self, outcome: Outcome, written: _Written, error: SchedulerError) -> None:
        self._logger.error("the outcome of %s can't be stored as it is: %s", outcome.run.idempotency_key, error)
        if outcome.failure is None or outcome.failure.error_type == UNSTORABLE:
            return
        plain = replace(outcome, failure=Failure(outcome.failure.outcome, UNSTORABLE, "see the log"))
        await self._write_batch([plain], written)
