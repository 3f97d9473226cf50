"""What was decided, kept in memory: each job with its cursor, each run with its outcome.

Not a database and no imitation of one: a test has one thread of control, so nothing conflicts, nothing is fenced
and nothing is adopted. Whatever is decided is decided elsewhere, by the product's own code (`domain.planning`,
`domain.overlap`, `engine.operations`); this writes it down and reads it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from uuid import UUID

from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.planning.planning import Plan, StoredJob, due_at
from scheduler_core.domain.runs.run import Origin, Outcome, Run, RunStatus
from scheduler_core.ports.jobs import Declared, StoredCalendar
from scheduler_core.ports.runs import Settlement
from scheduler_core.testing.clock import VirtualClock
from scheduler_core.testing.recorded import RecordedRun

_DEFINITION = frozenset(item.name for item in fields(JobDefinition))
_STATE = frozenset(item.name for item in fields(StoredJob)) - {"definition", "schedule", "next_run", "due_at"}
_TICK = timedelta(microseconds=1)
TERM = 1


@dataclass(slots=True)
class _Tally:
    """A job's counters, as the scheduler keeps them beside it."""

    last_run: datetime | None = None
    run_count: int = 0
    error_count: int = 0
    consecutive_failures: int = 0
    last_status: str | None = None
    last_error: str | None = None


class Ledger:
    """Jobs and runs in memory, with the methods of `ports.Jobs` and `ports.Runs` that operators' verbs use."""

    def __init__(self, clock: VirtualClock) -> None:
        self.jobs: dict[str, StoredJob] = {}
        self.runs: dict[UUID, RecordedRun] = {}
        self.calendars: dict[str, Calendar] = {}
        self.triggered: list[Run] = []
        """Runs that are due at once and that nobody has begun."""
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}
        self._last_versions: dict[str, int] = {}
        """Of jobs that were removed."""
        self._taken: set[tuple[str, datetime]] = set()

    # What the scheduler asks.

    def next_due_at(self) -> datetime | None:
        """When a cursor is due next; None when no job fires any more."""
        return min((job.due_at for job in self.jobs.values() if job.due_at is not None), default=None)

    def due(self, now: datetime) -> list[StoredJob]:
        """The jobs whose cursor is due, the earliest first."""
        found = [(job.due_at, job_id) for job_id, job in self.jobs.items() if job.due_at and job.due_at <= now]
        return [self._whole(job_id) for _, job_id in sorted(found)]

    def claim(self, plan: Plan) -> list[Run]:
        """Make the scheduler's plan true; a job without a next occurrence is finished. Returns the runs to start."""
        runs = self._keep(plan)
        if plan.next_run is None:
            job_id = plan.job.job_id
            self.jobs[job_id] = replace(self.jobs[job_id], finished_at=self._clock.now())
        return runs

    def record(self, outcome: Outcome) -> None:
        """Write down one thing that happened to a run."""
        before = self.runs[outcome.run.run_id]
        failures = before.failures if outcome.failure is None else (*before.failures, outcome.failure)
        after = replace(
            before,
            status=outcome.status,
            reason=outcome.reason,
            attempts=outcome.attempt,
            started_at=outcome.started_at or before.started_at,
            finished_at=outcome.finished_at if outcome.status.is_finished else None,
            next_attempt_at=outcome.next_attempt_at,
            failures=failures,
        )
        self.runs[before.run_id] = after
        if before.job_id in self.jobs:
            self._count(after, outcome)

    def add_calendar(self, calendar: Calendar) -> None:
        """Keep a calendar, and have the jobs that name it looked at anew."""
        self.calendars[calendar.name] = calendar
        for job_id, job in self.jobs.items():
            if calendar.name in job.definition.calendars and job.due_at is not None:
                self.jobs[job_id] = replace(job, due_at=due_at(job.definition, job.schedule, job.next_run))

    def status(self, job_id: str) -> JobStatus | None:
        """A job's counters and state; None if there is no such job."""
        job = self.jobs.get(job_id)
        if job is None:
            return None
        tally = self._tallies.get(job_id) or _Tally()
        active = {RunStatus.RUNNING, RunStatus.RETRYING}
        return JobStatus(
            job_id=job_id,
            name=job.definition.name,
            enabled=job.definition.enabled and job.auto_disabled_at is None and job.finished_at is None,
            last_run=tally.last_run,
            next_run=job.next_run,
            run_count=tally.run_count,
            error_count=tally.error_count,
            consecutive_failures=tally.consecutive_failures,
            running=any(run.job_id == job_id and run.status in active for run in self.runs.values()),
            paused=job.is_paused(self._clock.now()),
            last_status=tally.last_status,
            last_error=tally.last_error,
        )

    # What the operators' verbs ask (ports.Jobs, ports.Runs, ports.Calendars).

    async def load_calendars(self, names: Iterable[str] | None = None) -> Mapping[str, StoredCalendar]:
        wanted = self.calendars if names is None else self.calendars.keys() & set(names)
        return {name: StoredCalendar(self.calendars[name], 1) for name in wanted}

    async def now(self) -> datetime:
        return self._clock.now()

    async def load(self, job_ids: Iterable[str]) -> list[StoredJob]:
        return [self._whole(job_id) for job_id in job_ids if job_id in self.jobs]

    async def declare(self, jobs: Iterable[StoredJob], instance_id: str, actor: Actor) -> Declared:
        added: list[StoredJob] = []
        changed: list[str] = []
        for job in jobs:
            # A job that comes back goes on counting where it left off.
            version = self._last_versions.get(job.job_id, 0) + 1
            new = replace(job, digest=job.definition.digest, version=version)
            standing = self.jobs.setdefault(job.job_id, new)
            if standing is new:
                added.append(job)
            elif standing.digest != new.digest:
                changed.append(job.job_id)
        return Declared(added, changed)

    async def settle(self, settlement: Settlement, actor: Actor, at: datetime) -> bool:
        read = settlement.plan.job
        job = self.jobs.get(read.job_id)
        if job is None or (job.version, job.next_run) != (read.version, read.next_run):
            return False
        self.triggered += self._keep(settlement.plan)
        job = self.jobs[read.job_id]
        changes = settlement.changes
        definition = replace(job.definition, **{k: v for k, v in changes.items() if k in _DEFINITION})
        changed = replace(
            job,
            definition=definition,
            version=job.version + 1,
            **{k: v for k, v in changes.items() if k in _STATE},
        )
        self.jobs[job.job_id] = replace(changed, schedule=definition.schedule(changed.anchor))
        if "consecutive_failures" in changes:
            self._tally(job.job_id).consecutive_failures = changes["consecutive_failures"]
        if settlement.remove:
            self._last_versions[job.job_id] = self.jobs.pop(job.job_id).version
            self._tallies.pop(job.job_id, None)
        return True

    async def trigger(
        self, job_id: str, origin: Origin, run_id: UUID | None = None, at: datetime | None = None
    ) -> Run | None:
        job = self.jobs.get(job_id)
        if job is None:
            return None
        instant = at or self._clock.now()
        while (job_id, instant) in self._taken:
            # A standing clock gives two triggers the same instant, and a run is named by its job and its instant.
            instant += _TICK
        run = self._begin(job, instant, instant, origin, run_id)
        self.triggered.append(run)
        return run

    def _whole(self, job_id: str) -> StoredJob:
        """A job with the calendars that it names, as they are now."""
        job = self.jobs[job_id]
        found = tuple(self.calendars[name] for name in job.definition.calendars if name in self.calendars)
        return replace(job, calendars=found)

    def _keep(self, plan: Plan) -> list[Run]:
        """Move the cursor, write down what was missed and what is to run."""
        job = plan.job
        self.jobs[job.job_id] = replace(job, next_run=plan.next_run, due_at=plan.next_due_at)
        for missed in plan.missed:
            run = RecordedRun(
                self._new_id(),
                job.job_id,
                missed.last,
                missed.last,
                Origin.SCHEDULE,
                missed.status,
                missed.reason,
                finished_at=self._clock.now(),
                missed_count=None if missed.stands_for_one else missed.count,
                missed_from=None if missed.stands_for_one else missed.first,
            )
            self.runs[run.run_id] = run
        return [self._begin(job, fire.scheduled_for, fire.due_at, Origin.SCHEDULE) for fire in plan.fires]

    def _begin(
        self, job: StoredJob, scheduled_for: datetime, due_at: datetime, origin: Origin, run_id: UUID | None = None
    ) -> Run:
        self._taken.add((job.job_id, scheduled_for))
        run = Run(run_id or self._new_id(), job.job_id, scheduled_for, due_at, origin, TERM, job.version)
        self.runs[run.run_id] = RecordedRun(run.run_id, job.job_id, scheduled_for, due_at, origin, RunStatus.PENDING)
        return run

    def _new_id(self) -> UUID:
        # Counted, so that a test prints the same ids every time.
        return UUID(int=len(self.runs) + 1)

    def _tally(self, job_id: str) -> _Tally:
        return self._tallies.setdefault(job_id, _Tally())

    def _count(self, run: RecordedRun, outcome: Outcome) -> None:
        tally = self._tally(run.job_id)
        if outcome.failure is not None:
            tally.error_count += 1
            tally.last_error = outcome.failure.summary
        if not run.status.is_finished:
            return
        tally.last_status = run.status.value
        if run.status not in {RunStatus.SUCCEEDED, RunStatus.FAILED}:
            return
        tally.run_count += 1
        tally.last_run = run.started_at or tally.last_run
        tally.consecutive_failures = 0 if run.status is RunStatus.SUCCEEDED else tally.consecutive_failures + 1
        job = self.jobs[run.job_id]
        limit = job.definition.disable_after
        if limit is not None and tally.consecutive_failures >= limit:
            self.jobs[run.job_id] = replace(job, auto_disabled_at=self._clock.now(), due_at=None)
