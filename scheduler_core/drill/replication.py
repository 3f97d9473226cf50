"""What a primary acknowledged and its promoted standby never heard of: named, and no broken promise. Pure.

An asynchronous standby lacks the last commits of a primary that dies. The calls that they tell of took place, as the
witness files say: their runs have no row any more, or one from before the call. The scheduler can't know; the drill
does. Where the standby was synchronous nothing may be lacking, and nothing is explained here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from scheduler_core.drill.accounting import micros, subject_of
from scheduler_core.drill.evidence import Call, Evidence, Moment, RunRecord
from scheduler_core.drill.fault_windows import CLOCK_SLACK_MICROS
from scheduler_core.drill.verdict import KEPT_PER_KIND, LostRun, NotReplicated

CLAIMED_AHEAD_MICROS = 1_000_000
"""More than how far ahead of its instant a run is ever claimed: what is due later was claimed on the new primary."""


CALLED_WITHIN_MICROS = 250_000
"""How long after its start was durable, on a primary that is gone by then, a callback may write its first line."""


class Replication:
    """Failovers to asynchronous standbys, to be asked whether one explains what the record lacks."""

    def __init__(self, evidence: Evidence) -> None:
        # What was claimed on the old primary may still be called, as long as its leader trusts in its term.
        trust = round(evidence.lease_ttl_seconds * 1_000_000) + CLOCK_SLACK_MICROS
        self._failovers = [
            (micros(found.replicated_until) - CLOCK_SLACK_MICROS, micros(found.killed_at), trust)
            for fault in evidence.faults
            if (found := fault.failover) is not None
        ]
        self._once = {job.job_id for job in evidence.jobs if job.delivery == "at_most_once"}
        self._lost: list[LostRun] = []

    def lacks_row(self, calls: Sequence[Call], occurrence_has_calls: bool) -> bool:
        """Whether a failover explains that the run of these calls has no row; then it is noted.

        Parameters: occurrence_has_calls, whether another run of the same occurrence was called.
        """
        began = [call for call in calls if call.moment is Moment.BEGAN]
        first = min(began or calls, key=lambda call: call.at)
        if not self._explains(micros(first.at), micros(first.scheduled_for), by_kill=False):
            return False
        self._note(first, has_row=False, ended=len(began) < len(calls), again=occurrence_has_calls)
        return True

    def lacks_term(self, call: Call) -> bool:
        """Whether a failover explains that the record knows nothing of the call's term: it had only begun."""
        return self._explains(micros(call.at), micros(call.scheduled_for), by_kill=False)

    def lacks_call(self, run: RunRecord, first: Call, ended: int | None, *, again: bool) -> bool:
        """Whether a failover explains that the run's row is from before its first call, or from within it; then it is
        noted.

        Parameters: ended, when that call did (microseconds); again, whether the run was called once more.
        """
        if not again and run.status == "succeeded":
            return False
        due = micros(run.scheduled_for)
        moments = [micros(first.at), *([] if ended is None else [ended])]
        if not any(self._explains(moment, due, by_kill=True) for moment in moments):
            return False
        self._note(first, has_row=True, ended=ended is not None, again=again)
        return True

    def _explains(self, instant: int, due: int, *, by_kill: bool) -> bool:
        return any(
            since <= instant <= killed + (CALLED_WITHIN_MICROS if by_kill else trust)
            and due <= killed + CLAIMED_AHEAD_MICROS
            for since, killed, trust in self._failovers
        )

    def _note(self, call: Call, *, has_row: bool, ended: bool, again: bool) -> None:
        called = "ran" if ended else "was begun"
        lacks = "its row tells of another call" if has_row else "it has no row"
        then = "; the occurrence was called again" if again else ""
        self._lost.append(
            LostRun(
                subject_of(call.job_id, call.scheduled_for),
                f"run {call.run_id} {called} under term {call.term} on the old primary, and {lacks}{then}",
                again,
                call.job_id in self._once,
                call.scheduled_for,
            )
        )

    def summary(self) -> NotReplicated:
        """All that was noted."""
        again = [run for run in self._lost if run.again]
        ordered = sorted(self._lost, key=lambda run: (run.scheduled_for, run.subject))
        return NotReplicated(
            len(self._lost), len(again), sum(run.at_most_once for run in again), tuple(ordered[:KEPT_PER_KIND])
        )


def occurrences(calls: Iterable[Call]) -> dict[tuple[str, datetime], set[UUID]]:
    """Which runs of each occurrence were called: one, but where a failover lost the first."""
    found: dict[tuple[str, datetime], set[UUID]] = {}
    for call in calls:
        found.setdefault((call.job_id, call.scheduled_for), set()).add(call.run_id)
    return found
