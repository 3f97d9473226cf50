"""What a replica executes of the runs that are offered to all: the parts of it that take them and begin them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from scheduler_core.domain.runs.run import RunStatus
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.fire.attempts import Attempts
from scheduler_core.engine.fire.callback_call import CallbackCall
from scheduler_core.engine.fire.in_flight import LEAVING, InFlightRuns
from scheduler_core.engine.fire.job_cache import JobCache
from scheduler_core.engine.fire.overlap_gate import OpenGate
from scheduler_core.engine.fire.recorder import Recorder
from scheduler_core.engine.fire.run_executor import RunExecutor
from scheduler_core.engine.fire.run_lock import RunLocks
from scheduler_core.engine.fire.slots import Slots
from scheduler_core.engine.fire.start_gate import StartGate
from scheduler_core.engine.fire.start_timers import StartTimers
from scheduler_core.engine.fire.taking import LifeHolder, TakenTrust, Taking
from scheduler_core.engine.fire.tracing import traced
from scheduler_core.engine.replica_context import ReplicaContext
from scheduler_core.engine.supervision import TaskGroup
from scheduler_core.engine.wake import Wake


def executor_of_taken(
    context: ReplicaContext,
    *,
    trust: TakenTrust,
    in_flight: InFlightRuns,
    start_gate: StartGate,
    slots: Slots,
    threads: ThreadPoolExecutor,
    jobs: JobCache,
    callbacks: CallbackRegistry,
    locks: RunLocks,
    recorder: Recorder,
) -> RunExecutor:
    """What executes runs that somebody else has led to their turn: one attempt of each, and no further one."""
    clock, logger = context.clock_guard.clock, context.logger
    attempts = Attempts(
        journal=recorder,
        call=CallbackCall(trust, recorder, threads, clock),
        trust=trust,
        clock=clock,
        slots=slots,
        gate=start_gate,
        retry=None,
        logger=logger,
    )
    return RunExecutor(
        clock=clock,
        journal=recorder,
        trust=trust,
        in_flight=in_flight,
        jobs=jobs,
        callbacks=callbacks,
        gate=OpenGate(),
        slots={LOCAL: slots},
        locks=locks,
        attempts=traced(attempts, context.instance.instance_id),
        logger=logger,
    )


class Executing:
    """Takes and executes offered runs, by the code by which a leader executes its own; sees to no further attempt: that
    is offered again.

    Parameters: executors, whose offered runs it takes; none, and it takes nothing; slots_count, callbacks at once;
    life, whether the life witness is held. The others are the replica's.
    """

    def __init__(
        self,
        context: ReplicaContext,
        *,
        executors: Sequence[str],
        slots_count: int,
        life: LifeHolder,
        jobs: JobCache,
        callbacks: CallbackRegistry,
        locks: RunLocks,
        recorder: Recorder,
        machine: MachineClock = SYSTEM_CLOCK,
    ) -> None:
        me, clock, logger = context.instance.instance_id, context.clock_guard.clock, context.logger
        self._executors = tuple(executors)
        self._threads = ThreadPoolExecutor(slots_count, thread_name_prefix="scheduler-taken")
        trust, start_gate, slots = TakenTrust(life, context.timing, machine), StartGate(), Slots(slots_count)
        self.in_flight = InFlightRuns(clock, recorder, Wake(), logger, machine, leaving=LEAVING | {RunStatus.RETRYING})
        recorder.listeners += [self.in_flight, start_gate, trust]
        self._executor = executor_of_taken(
            context,
            trust=trust,
            in_flight=self.in_flight,
            start_gate=start_gate,
            slots=slots,
            threads=self._threads,
            jobs=jobs,
            callbacks=callbacks,
            locks=locks,
            recorder=recorder,
        )
        self._timers = StartTimers(clock, self.in_flight, self._executor)
        self._taking = Taking(
            context.storage.runs,
            me,
            jobs=jobs,
            executors=self._executors,
            slots_count=slots_count,
            slots=slots,
            offers=context.storage.offers,
            trust=trust,
            in_flight=self.in_flight,
            timers=self._timers,
            start_gate=start_gate,
            recorder=recorder,
            logger=logger,
            machine=machine,
        )

    def begin(self, tasks: TaskGroup) -> None:
        """Take what is offered from now on."""
        if self._executors:
            tasks.keep_going(self._taking.work, "scheduler taking")
            tasks.keep_going(self._taking.listen, "scheduler hears of offers")

    async def hand_back(self) -> None:
        """Take nothing more, and give back what has not begun."""
        await self._taking.close()
        self._timers.hand_back()

    async def drain(self, timeout_seconds: float) -> None:
        """Let what executes end, for at most so long; the rest is cut off and offered again."""
        await self._executor.drain(timeout_seconds)

    def end(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
