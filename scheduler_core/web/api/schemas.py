"""What the API speaks: keys as the columns that auditors query, instants in ISO 8601, durations in seconds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from scheduler_core.domain.access import DEFAULT_TOKEN_DAYS, MOST_TOKEN_DAYS, Scope
from scheduler_core.domain.alarm import AlarmKind
from scheduler_core.domain.backfill import MOST_OCCURRENCES
from scheduler_core.domain.job_fields import check_name, check_text
from scheduler_core.domain.policies import Delivery, Misfire, Overlap
from scheduler_core.domain.run import Origin, RunStatus
from scheduler_core.domain.schedule import Dst, ScheduleType
from scheduler_core.web.api.values import AnyCase, Instant

INSTANT = "2026-11-23T14:30:00Z"
RUN_ID = "019ab1f0-5c80-7a3e-9d41-6f0c2b8e7a15"

Seconds = Annotated[
    timedelta,
    PlainSerializer(lambda value: value.total_seconds(), return_type=float),
    WithJsonSchema({"type": "number", "description": "seconds"}, mode="serialization"),
]
Note = Annotated[str, Field(max_length=1_000), AfterValidator(lambda text: check_text(text, 1_000))]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_name)]


class Answer(BaseModel):
    """What we answer: keys that a later version adds are no break."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)


class Asked(BaseModel):
    """What we are asked: a key that nobody knows is a mistake, and said so."""

    model_config = ConfigDict(extra="forbid")


class Page(Answer):
    """A page of a listing; `next_cursor` asks for the one after it, null: this is the last."""

    next_cursor: str | None = None


class JobDefinition(Asked):
    """A job as code declares it: docs/schedules.md and docs/configuration.md say what each field may be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "job_id": "daily_report",
                    "name": "Daily report",
                    "schedule_type": "daily",
                    "schedule_value": ["14:30"],
                    "timezone": "Europe/Berlin",
                    "callback": "app.reports:send",
                    "kwargs": {"format": "pdf"},
                    "max_retries": 5,
                }
            ]
        },
    )

    job_id: Name
    name: str | None = Field(default=None, description="for people; the id by default")
    schedule_type: Annotated[ScheduleType, AnyCase()]
    schedule_value: float | str | list[str] | None = Field(
        description="seconds; HH:MM, or a list of them; an instant, null for now; a cron expression"
    )
    timezone: str | None = None
    start_at: str | None = None
    end_at: str | None = None
    dst: Annotated[Dst, AnyCase()] = Dst.ONCE
    jitter: float = 0.0
    calendars: list[str] = Field(default_factory=list)
    callback: str = Field(description="package.module:function, under allowed_callbacks or known to a living replica")
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    enabled: bool = True
    misfire: Annotated[Misfire, AnyCase()] = Misfire.LATEST
    misfire_grace: float = 10.0
    catch_up_limit: int = 100
    overlap: Annotated[Overlap, AnyCase()] = Overlap.SKIP
    delivery: Annotated[Delivery, AnyCase()] = Delivery.AT_LEAST_ONCE
    timeout: float | None = None
    max_retries: int = 3
    retry_delay: float = 1.0
    retry_max_delay: float = 60.0
    disable_after: int | None = None
    executor: str = "local"
    tags: list[str] = Field(default_factory=list)
    use_distributed_lock: bool = False
    lock_key: str | None = None
    lock_ttl: float = 300.0


class JobRow(Answer):
    """A job, its counters, and what operators did to it."""

    job_id: str = Field(examples=["daily_report"])
    name: str = Field(examples=["Daily report"])
    schedule_type: str = Field(examples=["daily"])
    schedule_value: Any = Field(examples=[["14:30:00"]])
    schedule: str | None = Field(description="in plain words", examples=["every day at 14:30"])
    timezone: str = Field(examples=["Europe/Berlin"])
    enabled: bool
    next_run: datetime | None = Field(examples=[INSTANT])
    last_run: datetime | None = Field(examples=[INSTANT])
    run_count: int
    error_count: int
    consecutive_failures: int
    version: int = Field(description="of the definition and of what operators did; also the ETag", examples=[3])
    paused: bool
    paused_until: datetime | None
    paused_by: str | None
    pause_note: str | None
    auto_disabled_at: datetime | None
    finished_at: datetime | None
    callback: str = Field(examples=["app.reports:send"])
    tags: list[str]
    calendars: list[str]
    last_status: str | None = Field(examples=["succeeded"])
    last_error: str | None


class Job(JobRow):
    """A job, whole."""

    definition: dict[str, Any] | None = Field(
        description="what a PUT takes back; null if the row can't be read", examples=[{"job_id": "daily_report"}]
    )
    problem: str | None = Field(description="why the row can't be read, if it can't")


class JobPage(Page):
    items: list[JobRow]


class Pause(Asked):
    """Why, and until when."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"note": "until the import is repaired", "until": None}]}
    )

    until: Instant | None = Field(default=None, description="resume by itself then")
    note: Note | None = None


class Revert(Asked):
    """Which version's definition to bring back, as the log of changes numbers them."""

    version: int = Field(ge=1, le=2**62, examples=[2])


class MadeRun(Answer):
    """A run that was just made; the leader starts it."""

    run_id: UUID = Field(examples=[RUN_ID])
    job_id: str = Field(examples=["daily_report"])
    scheduled_for: datetime = Field(examples=[INSTANT])
    origin: Origin = Field(examples=["trigger"])
    rerun_of: UUID | None = None


class BackfillRequest(Asked):
    """A past range, both ends included."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "examples": [{"from": "2026-11-22T00:00:00Z", "until": "2026-11-22T23:59:59Z", "dry_run": True}]
        },
    )

    start: Instant = Field(alias="from")
    until: Instant
    limit: int = Field(default=MOST_OCCURRENCES, ge=1, le=100_000, description="the most occurrences it may hold")
    dry_run: bool = Field(default=False, description="only say what would be made")


class ExistingRun(Answer):
    scheduled_for: datetime
    status: str


class Backfill(Answer):
    """What a backfill makes, and what had a run already. The first and the last occurrence are of both."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    job_id: str = Field(examples=["daily_report"])
    start: datetime = Field(serialization_alias="from")
    until: datetime
    dry_run: bool
    occurrences: int
    first: datetime | None
    last: datetime | None
    made: int
    to_make: list[datetime]
    existing: list[ExistingRun]


class Run(Answer):
    """The record of one occurrence."""

    run_id: UUID = Field(examples=[RUN_ID])
    job_id: str = Field(examples=["daily_report"])
    job_name: str
    scheduled_for: datetime = Field(examples=[INSTANT])
    origin: str = Field(examples=["schedule"])
    status: str = Field(examples=["succeeded"])
    reason: str | None
    attempts: int
    deliveries: int
    started_at: datetime | None
    finished_at: datetime | None
    duration: Seconds | None
    lateness: Seconds | None
    term: int | None
    instance_id: str | None
    definition_version: int
    error: str | None
    missed_count: int | None
    missed_from: datetime | None
    rerun_of: UUID | None
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None


class Attempt(Answer):
    """One call of the callback."""

    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str = Field(examples=["failed"])
    error_type: str | None = Field(examples=["ValueError"])
    error_message: str | None
    traceback: str | None
    term: int | None
    instance_id: str | None
    late: bool


class RunDetails(Run):
    """A run with its attempts."""

    attempt_list: list[Attempt]


class RunPage(Page):
    items: list[Run]


class Cancelled(Answer):
    """A run as a cancel left it: `cancelled`, or `running` until its owner has ended it."""

    run_id: UUID = Field(examples=[RUN_ID])
    job_id: str
    status: RunStatus
    instance_id: str | None = Field(description="who executes it")


class Upcoming(Answer):
    """One fire to come."""

    utc: datetime = Field(examples=[INSTANT])
    local: str = Field(examples=["2026-11-23T15:30:00+01:00"])
    left_out: int = Field(description="how many before it are excluded by calendars")
    note: str | None = Field(description="what a change of the clocks does to it")


class NextFires(Answer):
    """When a schedule fires next."""

    schedule: str = Field(description="in plain words", examples=["every day at 14:30"])
    timezone: str
    items: list[Upcoming]


class Explanation(Answer):
    """Why a job did or did not run, what it waits for, and what comes next."""

    job_id: str
    known: bool
    will_fire: bool
    schedule: str | None
    timezone: str | None
    sentences: list[str]
    runs: list[dict[str, Any]]
    next: list[Upcoming]


class Replica(Answer):
    instance_id: str = Field(examples=["worker-1-4711-9f3c2a10"])
    host: str
    pid: int
    started_at: datetime
    last_seen: datetime
    version: str
    eligible: bool
    role: Literal["leader", "follower"]


class Replicas(Answer):
    items: list[Replica]


class Leader(Answer):
    """Who leads, and who could. Without a leader the members about it are null."""

    term: int | None = Field(examples=[12])
    instance_id: str | None
    host: str | None
    pid: int | None
    acquired_at: datetime | None
    lease_expires_in: float | None = Field(description="seconds; null: Redis can't say")
    replicas: list[Replica]


class ClockHold(Answer):
    """Why planning stopped. `ahead_by`: seconds, negative for a jump back; `ended_at` is null while it stands still."""

    hold_id: int
    expected_at: datetime
    database_at: datetime
    ahead_by: Seconds
    evidence: str = Field(examples=["boottime"])
    term: int
    instance_id: str
    ended_at: datetime | None
    ended_why: str | None


class ClockReport(Answer):
    """The database's clock. `held`: planning has stopped, because it jumped further than `jump_limit` seconds."""

    database_at: datetime = Field(examples=["2026-11-23T12:00:00+00:00"])
    machine_at: datetime = Field(description="what the clock of the machine that answers shows")
    held: bool
    hold_id: int | None
    detail: str | None
    planned_at: datetime | None = Field(description="the last reading that planning went by")
    jump_limit: float
    holds: list[ClockHold]


class ClockAgreed(Answer):
    """`hold_id`: what the agreement ended; null where nothing had stopped planning."""

    database_at: datetime
    hold_id: int | None = Field(examples=[1])


class ResignAsked(Answer):
    """Who was asked to resign."""

    instance_id: str = Field(examples=["worker-1-4711-9f3c2a10"])
    term: int = Field(examples=[12])


class Term(Answer):
    """One leadership."""

    term: int = Field(examples=[12])
    instance_id: str = Field(examples=["worker-1-4711-9f3c2a10"])
    host: str = Field(examples=["worker-1"])
    acquired_at: datetime = Field(examples=[INSTANT])
    ended_at: datetime | None
    end_reason: str | None = Field(examples=["asked to"])
    leaderless_for: Seconds | None = Field(description="seconds without a leader before it")


class TermPage(Page):
    items: list[Term]


class CalendarBody(Asked):
    """What a calendar excludes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "excluded_dates": {"2026-12-25": "Christmas Day"},
                    "excluded_weekdays": ["sat", "sun"],
                    "excluded_periods": [["2026-12-31T18:00:00Z", "2027-01-01T06:00:00Z"]],
                    "note": "business days",
                }
            ]
        },
    )

    excluded_dates: dict[str, str] = Field(default_factory=dict)
    excluded_weekdays: list[str] = Field(default_factory=list)
    excluded_periods: list[tuple[str, str]] = Field(default_factory=list)
    note: str | None = None


class CalendarRow(Answer):
    name: str = Field(examples=["holidays"])
    excluded_dates: dict[str, str]
    excluded_weekdays: list[str]
    excluded_periods: list[Any]
    note: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str | None
    job_count: int = Field(description="how many jobs name it")


class CalendarPage(Page):
    items: list[CalendarRow]


class Change(Answer):
    """One change of a job; `old` and `new` are its documents before and after."""

    changed_at: datetime
    job_id: str
    version: int
    action: str = Field(examples=["paused"])
    actor: str = Field(examples=["token ci"])
    source: str = Field(examples=["api"])
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    effective_at: datetime
    reverted_to: int | None
    database_user: str


class ChangePage(Page):
    items: list[Change]


class GapReport(Answer):
    """Whether every occurrence has a row or is counted in one."""

    clean: bool = Field(examples=[True])
    since: datetime = Field(examples=[INSTANT])
    until: datetime = Field(examples=[INSTANT])
    jobs: int = Field(examples=[40])
    expected: int = Field(description="occurrences that were owed", examples=[86_400])
    waiting: int = Field(examples=[0])
    unaccounted: int = Field(examples=[0])
    gaps: list[dict[str, Any]]
    unchecked: list[dict[str, str]]


class Duplicate(Answer):
    """An occurrence with two rows, or whose record betrays a second call."""

    kind: str = Field(examples=["beyond_policy"])
    job_id: str = Field(examples=["daily_report"])
    scheduled_for: datetime = Field(examples=[INSTANT])
    executions: int = Field(examples=[2])
    run_id: str | None = Field(examples=[RUN_ID])
    detail: str | None


class Duplicates(Answer):
    items: list[Duplicate]


class Family(Answer):
    """A table family and what is there of it."""

    schema_name: str = Field(examples=["scheduler"])
    family: str = Field(examples=["runs"])
    partitioned: bool
    days_ahead: int = Field(examples=[3])
    retention_days: int | None = Field(examples=[30])
    tables: int | None = Field(examples=[33])
    first_table: str | None = Field(examples=["runs_20261024"])
    last_table: str | None = Field(examples=["runs_20261126"])
    days_left: int | None = Field(examples=[3])
    is_short: bool | None


class Families(Answer):
    items: list[Family]


class Trouble(Answer):
    kind: str = Field(examples=["overdue"])
    subject: str
    detail: str | None


class Examination(Answer):
    """What the doctor found. `healthy`: nothing wants a look but pauses and reverts, which somebody wished."""

    healthy: bool
    facts: dict[str, Any]
    troubles: list[Trouble]


class Simulation(Answer):
    """What `scheduler simulate --json` prints."""

    since: datetime = Field(examples=[INSTANT])
    until: datetime = Field(examples=[INSTANT])
    days: int = Field(examples=[30])
    timezone: str = Field(examples=["Europe/Berlin"])
    jobs: int = Field(examples=[40])
    fires: int = Field(examples=[86_400])
    busiest_hour: dict[str, Any] = Field(examples=[{"since": INSTANT, "fires": 3_600}])
    load: list[dict[str, Any]] = Field(description="fires of each hour, by day")
    stampedes: list[dict[str, Any]] = Field(description="instants at which many jobs are due")
    steady_jobs: Any = Field(description="jobs that meet all the time")
    overlaps: list[dict[str, Any]] = Field(description="jobs whose runs last longer than their interval")
    known_durations: Any = Field(description="for how many jobs a duration is known")
    clock_changes: list[dict[str, Any]]
    gaps: list[dict[str, Any]] = Field(description="times without any fire")
    silent: Any = Field(description="jobs that do not fire at all")
    suggestions: list[dict[str, Any]]


class Alarm(Answer):
    """What is wrong with a job. `alarm_id` is null where no replica has opened it yet."""

    alarm_id: int | None
    kind: AlarmKind
    job_id: str = Field(examples=["daily_report"])
    job_name: str
    since: datetime
    detail: str = Field(examples=["no leader has planned it"])
    run_id: UUID | None
    failed_runs: int
    opened_at: datetime | None
    last_at: datetime | None
    closed_at: datetime | None
    closed_why: str | None


class AlarmPage(Page):
    """`unwatched_seconds`: for so long no replica has looked; null while one does, and before the first did."""

    items: list[Alarm]
    looked_at: datetime | None
    looked_by: str | None
    unwatched_seconds: float | None


class ClosedAlarms(Answer):
    closed: int = Field(examples=[1])


class NotificationRow(Answer):
    """A message to the webhook, and what became of it."""

    notification_id: int
    message_id: UUID
    event: str = Field(examples=["overdue"])
    state: Literal["waiting", "refused", "delivered", "given up"]
    text: str
    created_at: datetime
    attempts: int
    next_attempt_at: datetime
    last_error: str | None
    claimed_by: str | None
    delivered_at: datetime | None
    given_up_at: datetime | None


class NotificationPage(Page):
    items: list[NotificationRow]


class QueuedNotification(Answer):
    notification_id: int = Field(examples=[17])


class NewToken(Asked):
    """Whose token, what it allows, and for how long."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "ci", "scope": "operator", "days": 30}]}
    )

    name: Name
    scope: Annotated[Scope, AnyCase()] = Scope.VIEWER
    days: float | None = Field(
        default=DEFAULT_TOKEN_DAYS, gt=0, le=MOST_TOKEN_DAYS, description="how long it stands; null: for ever"
    )


class TokenRow(Answer):
    token_id: UUID
    name: str = Field(examples=["ci"])
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None = Field(description="to the minute")


class MadeToken(TokenRow):
    token: str = Field(description="the secret: it is not shown again", examples=["sched_…"])


class ListedToken(TokenRow):
    stands: bool


class TokenPage(Page):
    items: list[ListedToken]


class Me(Answer):
    """Who calls."""

    name: str = Field(examples=["ci"])
    scope: Scope


class ImportDifference(Answer):
    """What the file changes, or would change: as `scheduler jobs import --json` says it."""

    added: list[dict[str, Any]] = Field(examples=[[{"job_id": "daily_report", "fields": {"daily": "14:30"}}]])
    changed: list[dict[str, Any]] = Field(
        examples=[[{"job_id": "import", "fields": {"every": {"old": 30, "new": 60}}}]]
    )
    removed: list[dict[str, Any]]
    unchanged: int = Field(examples=[38])
    notes: list[str] = Field(description="what a person should know before saying yes")
    applied: bool
