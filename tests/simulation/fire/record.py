"""What callbacks were called, and what the record says of it: asked when all faults are healed and all that was due has
had the time to end.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from scheduler_core import RunContext

from ..postgres_server import SCHEMA
from ..timeline import VirtualLoop
from .jobs import INTERVALS_SECONDS

if TYPE_CHECKING:
    from .world import FireWorld

UNFINISHED = "('pending', 'queued', 'running', 'retrying')"

JOBS = f"""
SELECT job_id, delivery, next_run, due_at, anchor, paused_at, auto_disabled_at, run_count, error_count
FROM {SCHEMA}.jobs ORDER BY job_id
"""

RUNS = f"""
SELECT run_id, job_id, scheduled_for, origin, status, reason, attempt, deliveries, coalesce(orphaned, 0) AS orphaned,
       missed_count, missed_from, instance_id, started_at, finished_at, cancel_requested_at
FROM {SCHEMA}.runs ORDER BY job_id, scheduled_for
"""

ATTEMPTS = f"""
SELECT run_id, job_id, attempt, outcome, late, term, instance_id, error_type FROM {SCHEMA}.attempts
ORDER BY job_id, scheduled_for, attempt, term, outcome
"""

ADDED = f"""
SELECT job_id, action, changed_at, CAST(coalesce(new, old) ->> 'anchor' AS timestamptz) AS anchor
FROM {SCHEMA}.job_changes WHERE action IN ('added', 'removed') ORDER BY job_id, version
"""

UNENDED = f"""
SELECT 'run ' || job_id || ' at ' || scheduled_for || ' is ' || status || coalesce(' (' || reason || ')', '')
       || coalesce(' under ' || instance_id, '') AS what
FROM {SCHEMA}.runs WHERE status IN {UNFINISHED} AND due_at < $1
UNION ALL
SELECT 'job ' || job_id || ' is due since ' || due_at FROM {SCHEMA}.jobs
WHERE due_at < $1 AND enabled AND auto_disabled_at IS NULL
ORDER BY 1
"""


LONGEST_REMOVAL = timedelta(seconds=8)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a callback."""

    host: str
    run_id: UUID
    job_id: str
    scheduled_for: datetime
    attempt: int
    term: int
    at: float


class Record:
    """Parameters: world, whose record it is."""

    def __init__(self, world: FireWorld) -> None:
        self._world = world
        self.calls: list[Call] = []
        self.triggered: dict[UUID, str] = {}
        """Runs that an operator was told of."""
        self.cut_hosts: set[str] = set()
        """Processes that were killed, or out of anybody's sight for a while."""

    def called(self, ctx: RunContext) -> None:
        """At the callback's first line."""
        loop = asyncio.get_running_loop() if _runs() else None
        host = loop.host.name if isinstance(loop, VirtualLoop) else self._world.in_thread_of(ctx)
        call = Call(host, ctx.run_id, ctx.job_id, ctx.scheduled_for, ctx.attempt, ctx.term, self._world.timeline.now)
        self.calls.append(call)
        checks = self._world.checks
        checks.say(f"{host} calls {ctx.job_id} of {ctx.scheduled_for:%H:%M:%S.%f}, attempt {ctx.attempt}")
        checks.started(host, ctx.term, is_well=False)

    def returned(self, ctx: RunContext) -> None:
        self._world.checks.say(f"{ctx.job_id} of {ctx.scheduled_for:%H:%M:%S.%f} returns")

    def unended(self, before: datetime) -> list[str]:
        """What was due and has not ended."""
        return [row.what for row in self._world.real.fetch(UNENDED, before)]

    def check(self) -> None:
        """Everything that holds once all has ended."""
        runs = self._world.real.fetch(RUNS)
        attempts = self._world.real.fetch(ATTEMPTS)
        jobs = self._world.real.fetch(JOBS)
        for row in (*runs, *attempts, *jobs, *self._world.real.fetch(ADDED)):
            self._world.checks.say(" ".join(_shown(name, value) for name, value in row.items() if name != "run_id"))
        self._check_gaps(runs, jobs)
        self._check_calls(runs, attempts, {job.job_id: job.delivery for job in jobs})
        self._check_counters(runs, attempts, jobs)
        for run_id, what in self.triggered.items():
            if all(run.run_id != run_id for run in runs):
                self._fail(f"I4: the run of {what} is not there")

    def _fail(self, text: str) -> None:
        self._world.checks.fail(text)

    def _check_gaps(self, runs: Sequence[Any], jobs: Sequence[Any]) -> None:
        """I4: each occurrence from a job's first to its cursor stands in exactly one row."""
        covered: dict[str, Counter[datetime]] = defaultdict(Counter)
        for run in runs:
            step = timedelta(seconds=INTERVALS_SECONDS[run.job_id])
            if run.origin != "schedule" and run.missed_count is None:
                continue
            first = run.missed_from or run.scheduled_for
            count = 0
            while first <= run.scheduled_for:
                covered[run.job_id][first] += 1
                first, count = first + step, count + 1
            if run.missed_count is not None and count != run.missed_count:
                self._fail(f"I4: {run.job_id} counts {run.missed_count} from {run.missed_from} to {run.scheduled_for}")
        cursors = {job.job_id: job.next_run for job in jobs}
        changes = self._world.real.fetch(ADDED)
        for number, added in enumerate(changes):
            if added.action != "added":
                continue
            later = changes[number + 1] if number + 1 < len(changes) else None
            removed_at = later.changed_at if later is not None and later.job_id == added.job_id else None
            end = removed_at or cursors.get(added.job_id)
            if end is None:
                self._fail(f"I4: {added.job_id} has no cursor")
                continue
            step = timedelta(seconds=INTERVALS_SECONDS[added.job_id])
            instant = added.anchor + step
            if removed_at is not None:
                # It accounts for what was due as it was decided on, a while before it is logged.
                last = max((at for at in covered[added.job_id] if at <= removed_at), default=added.anchor)
                if last < removed_at - step - LONGEST_REMOVAL and not self._world.was_clock_set:
                    self._fail(
                        f"I4: {added.job_id} was removed at {removed_at:%H:%M:%S.%f}, and accounted for by {last}"
                    )
                end = last
            while instant < end:
                times = covered[added.job_id].pop(instant, 0)
                if times != 1:
                    self._fail(f"I4: {added.job_id} at {instant:%H:%M:%S.%f} stands in {times} rows")
                instant += step

    def _check_calls(self, runs: Sequence[Any], attempts: Sequence[Any], delivery: dict[str, str]) -> None:
        """I5, I6: at_most_once is called once at the most; a repeated call has its reason in the record."""
        by_run: dict[UUID, list[Call]] = defaultdict(list)
        for call in self.calls:
            by_run[call.run_id].append(call)
        of_run: dict[UUID, list[Any]] = defaultdict(list)
        for attempt in attempts:
            of_run[attempt.run_id].append(attempt)
        known = {run.run_id: run for run in runs}
        instants: Counter[tuple[str, datetime]] = Counter()
        for run_id, calls in by_run.items():
            run, told = known.get(run_id), of_run[run_id]
            what = f"{calls[0].job_id} of {calls[0].scheduled_for:%H:%M:%S.%f}"
            instants[calls[0].job_id, calls[0].scheduled_for] += 1
            if run is None:
                self._fail(f"I3: {what} was called and has no row")
                continue
            failed = sum(attempt.outcome in ("failed", "timeout") for attempt in told)
            hosts = sorted(call.host for call in calls)
            if delivery.get(run.job_id) == "at_most_once":
                if len(calls) > 1 + failed:
                    self._fail(f"I5: {what}, at_most_once, was called {len(calls)} times on {hosts}, {failed} failed")
                continue
            goes_on = run.status not in ("failed", "lost")  # of these the last attempt has a row of its own
            reasons = len(told) + goes_on + run.orphaned
            if len(calls) > max(1, reasons):
                self._fail(f"I6: {what} was called {len(calls)} times on {hosts}, and {reasons} are explained")
        for (job_id, instant), count in instants.items():
            if count > 1:
                self._fail(f"I3: {job_id} of {instant} was called for {count} runs")
        for run in runs:
            if run.status == "succeeded" and not by_run[run.run_id]:
                self._fail(f"I5: {run.job_id} of {run.scheduled_for} succeeded and was never called")

    def _check_counters(self, runs: Sequence[Any], attempts: Sequence[Any], jobs: Sequence[Any]) -> None:
        """I5: the counters of a job are what its rows say."""
        added = {row.job_id for row in self._world.real.fetch(ADDED) if row.action == "removed"}
        ended = Counter(run.job_id for run in runs if run.status in ("succeeded", "failed", "lost"))
        errors = Counter(a.job_id for a in attempts if a.outcome in ("failed", "timeout") and not a.late)
        for job in jobs:
            if job.job_id in added:
                continue  # who comes back counts from zero
            if job.run_count != ended[job.job_id]:
                self._fail(f"I5: {job.job_id} counts {job.run_count} runs, and has {ended[job.job_id]}")
            if job.error_count != errors[job.job_id]:
                self._fail(f"I5: {job.job_id} counts {job.error_count} errors, and has {errors[job.job_id]}")


def _shown(name: str, value: Any) -> str:
    return f"{name}={value:%d %H:%M:%S.%f}" if isinstance(value, datetime) else f"{name}={value}"


def _runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
