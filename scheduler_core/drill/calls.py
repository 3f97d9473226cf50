"""What the callbacks wrote down against what the record says: pure.

A callback may be called again only where the owner of the call before died, was stopped or was cut off in between
(`at_least_once`), or never (`at_most_once`). A living former owner may finish what it began, and begin nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from scheduler_core.drill.accounting import micros, subject_of
from scheduler_core.drill.evidence import Call, Evidence, Moment, RunRecord
from scheduler_core.drill.fault_windows import CLOCK_SLACK_MICROS, FaultWindows, Processes
from scheduler_core.drill.replication import Replication, occurrences
from scheduler_core.drill.terms import FOREVER, Terms
from scheduler_core.drill.verdict import Findings, Kind, Witnessed

NEVER_RAN = frozenset({"skipped", "missed"})
WAKING_MICROS = 1_000_000
"""How soon after it was woken a process begins what it was about to begin when it was stopped."""


@dataclass(slots=True)
class Execution:
    """One call of a callback: its first line in the witness file, and its second if there is one."""

    call: Call
    began: int
    ended: int | None = None
    on_waking: bool = False
    """Its process had been stopped between its last check and this call."""


def check_calls(evidence: Evidence, terms: Terms, findings: Findings) -> Witnessed:
    """Hold the witness files against the record. Linear in calls and rows."""
    return _Hearing(evidence, terms, findings).hear()


class _Hearing:
    """The calls of every run, heard one run after the other."""

    def __init__(self, evidence: Evidence, terms: Terms, findings: Findings) -> None:
        self._evidence = evidence
        self._terms = terms
        self._findings = findings
        self._processes = Processes(evidence.replicas)
        self._fault_windows = FaultWindows(evidence, self._processes)
        self._replication = Replication(evidence)
        self._once = {job.job_id for job in evidence.jobs if job.delivery == "at_most_once"}
        self._tally: Counter[str] = Counter()
        self._woken: set[int] = set()

    def hear(self) -> Witnessed:
        by_run: defaultdict[UUID, list[Call]] = defaultdict(list)
        for call in self._evidence.calls:
            if self._is_in_window(call):
                by_run[call.run_id].append(call)
        for run in self._evidence.runs:
            self._check_row(run)
            if self._is_in_window(run):
                self._check_run(run, self._executions(by_run.pop(run.run_id, ())))
        self._check_rowless(by_run)
        return Witnessed(
            self._tally["calls"],
            self._tally["fires"],
            self._tally["repeated"],
            self._tally["concurrent"],
            self._tally["woken"],
            self._replication.summary(),
        )

    def _check_rowless(self, by_run: Mapping[UUID, Sequence[Call]]) -> None:
        """Calls of runs that have no row."""
        if not by_run:
            return
        called = occurrences(self._evidence.calls)
        for calls in by_run.values():
            first = calls[0]
            is_alone = len(called[first.job_id, first.scheduled_for]) == 1
            if not self._replication.lacks_row(calls, occurrence_has_calls=not is_alone):
                self._find(Kind.UNRECORDED_CALL, first, f"run {first.run_id} was called and has no row")

    def _is_in_window(self, about: Call | RunRecord) -> bool:
        return self._evidence.began_at <= about.scheduled_for <= self._evidence.ended_at

    def _find(self, kind: Kind, about: Call | RunRecord, sentence: str) -> None:
        self._findings.add(kind, subject_of(about.job_id, about.scheduled_for), sentence)

    def _executions(self, calls: Sequence[Call]) -> list[Execution]:
        """Lines as calls: the end belongs to the earliest call of the same process and attempt that has none."""
        executions: list[Execution] = []
        for call in sorted(calls, key=lambda call: call.at) if len(calls) > 1 else calls:
            if call.moment is Moment.BEGAN:
                executions.append(Execution(call, micros(call.at)))
                continue
            for execution in executions:
                began = execution.call
                if execution.ended is None and (began.pid, began.attempt) == (call.pid, call.attempt):
                    execution.ended = micros(call.at)
                    break
            else:
                self._find(Kind.BROKEN_WITNESS, call, f"pid {call.pid} ended attempt {call.attempt}, never begun")
        return executions

    def _check_row(self, run: RunRecord) -> None:
        """The row by itself: who owns it, and when it started."""
        if run.term is None or run.instance_id is None:
            return
        leader = self._terms.instance(run.term)
        if leader != run.instance_id:
            self._find(
                Kind.WRONG_OWNER, run, f"owned by {run.instance_id} under term {run.term}, led by {leader or 'nobody'}"
            )
        if run.started_at is not None and self._is_stale(run.term, micros(run.started_at)):
            self._find(Kind.STALE_TERM, run, f"the record says: started {self._too_late(run.term, run.started_at)}")

    def _check_run(self, run: RunRecord, executions: list[Execution]) -> None:
        """The row against its calls."""
        if executions:
            self._tally["fires"] += 1
            self._tally["calls"] += len(executions)
        for execution in executions:
            self._check_start(execution)
        is_lacking = bool(executions) and self._replication.lacks_call(
            run, executions[0].call, executions[0].ended, again=len(executions) > 1
        )
        if run.status == "succeeded" and not any(execution.ended is not None for execution in executions):
            told = "its callback never came to its end" if executions else "its callback was never called"
            self._find(Kind.SUCCEEDED_UNCALLED, run, f"run {run.run_id} is recorded as succeeded; {told}")
        if executions and run.status in NEVER_RAN:
            self._check_never_ran(run, executions)
        elif len(executions) > 1 + is_lacking and run.job_id in self._once:
            pids = ", ".join(str(execution.call.pid) for execution in executions)
            self._find(Kind.AT_MOST_ONCE, run, f"called {len(executions)} times, by pids {pids}")
        else:
            self._check_repeats(run, executions)

    def _check_start(self, execution: Execution) -> None:
        call = execution.call
        process = self._processes.at(call.pid, execution.began)
        leader = self._terms.instance(call.term)
        if leader is None and self._replication.lacks_term(call):
            return
        if leader is None or (process is not None and process.instance_id not in {None, leader}):
            self._find(
                Kind.WRONG_OWNER, call, f"called by pid {call.pid} under term {call.term}, led by {leader or 'nobody'}"
            )
        elif self._terms.is_early(call.term, execution.began):
            self._find(Kind.STALE_TERM, call, f"pid {call.pid} called it under term {call.term}, not yet acquired")
        elif self._is_stale(call.term, execution.began):
            execution.on_waking = self._was_waking(execution)
            if execution.on_waking:
                return
            self._find(Kind.STALE_TERM, call, f"pid {call.pid} called it {self._too_late(call.term, call.at)}")

    def _is_stale(self, term: int, instant: int) -> bool:
        return instant > self._terms.closes(term)

    def _too_late(self, term: int, at: object) -> str:
        closes = self._terms.closes(term)
        assert closes < FOREVER
        return f"under term {term} at {at:%H:%M:%S.%f}, after that term's trust had ended"

    def _was_waking(self, execution: Execution) -> bool:
        """Whether the process was stopped between its last check and the call: once for each time it was stopped.

        No check can be one with the call that it guards. What was not due yet when the process stopped had not
        been checked, and must not be called.
        """
        fault = self._fault_windows.hit(execution.call.pid, execution.began - WAKING_MICROS, execution.began)
        if fault is None or fault.healed_at is None or not any(kind.startswith("stop") for kind in fault.kinds):
            return False
        was_due = micros(execution.call.scheduled_for) <= micros(fault.injected_at) + CLOCK_SLACK_MICROS // 10
        woke = micros(fault.healed_at)
        if not was_due or not woke - CLOCK_SLACK_MICROS <= execution.began <= woke + WAKING_MICROS:
            return False
        if fault.number in self._woken:
            return False
        self._woken.add(fault.number)
        self._tally["woken"] += 1
        return True

    def _check_never_ran(self, run: RunRecord, executions: list[Execution]) -> None:
        first = executions[0]
        decided = FOREVER if run.finished_at is None else micros(run.finished_at)
        # A short call leaves no trace in the record when its owner dies; the successor decides anew.
        if self._fault_windows.excused(first.call.pid, first.began, max(decided, first.began)):
            return
        self._find(
            Kind.CALLED_THOUGH_NOT_RUN,
            run,
            f"recorded as {run.status} ({run.reason}), and pid {first.call.pid} called it at "
            f"{first.call.at.astimezone(UTC):%H:%M:%S.%f}",
        )

    def _check_repeats(self, run: RunRecord, executions: list[Execution]) -> None:
        """Each call after the first needs a reason: a further attempt in the record, or a fault that hit an owner."""
        unexplained = len(executions)
        for place, again in enumerate(executions[1:], start=1):
            first = self._conflict(executions[:place], again)
            if first is None:
                continue
            unexplained -= 1
            is_living = first.ended is not None and first.ended > again.began
            # The successor's call may be over by then: it is the one that woke whom the fault had hit.
            if again.on_waking or self._fault_windows.excused(first.call.pid, first.began, again.began):
                self._tally["repeated"] += 1
                self._tally["concurrent"] += is_living
                continue
            kind = Kind.CONCURRENT_CALLS if first.ended is None or is_living else Kind.DUPLICATE_EXECUTION
            self._find(
                kind,
                run,
                f"attempt {again.call.attempt} called by pid {again.call.pid} (term {again.call.term}) at "
                f"{again.call.at.astimezone(UTC):%H:%M:%S.%f}, after pid {first.call.pid} (term {first.call.term}) "
                f"had begun attempt {first.call.attempt} at {first.call.at.astimezone(UTC):%H:%M:%S.%f}; "
                "no fault hit that owner in between",
            )
        if unexplained > run.attempts + run.deliveries and run.status != "running":
            self._find(
                Kind.UNRECORDED_CALL,
                run,
                f"called {len(executions)} times; the record tells of {run.attempts} attempts and "
                f"{run.deliveries} lost ones",
            )

    @staticmethod
    def _conflict(earlier: Sequence[Execution], again: Execution) -> Execution | None:
        """The latest earlier call that this one repeats, or runs beside; None for a further attempt in due order."""
        for first in reversed(earlier):
            over = first.ended is not None and first.ended <= again.began
            if not over or first.call.attempt >= again.call.attempt:
                return first
        return None
