"""The tables as SQLAlchemy knows them: what the migrations must add up to, checked by `alembic check`.

The hot path speaks SQL that is written to be read; these tables serve the migrations' check and the plain
listings. They name no schema: statements get it from `Database`, migrations from the `search_path`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from scheduler_core.domain.jobs.job import JobDefinition

metadata = MetaData()
_INSTANT = TIMESTAMP(timezone=True)


def _required(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **options)


_KINDS: Mapping[Any, Any] = {
    str: Text,
    bool: Boolean,
    int: Integer,
    float: Double,
    datetime: _INSTANT,
    tuple[str, ...]: ARRAY(Text),
}
"""What a field of a definition is as a column; a member of an enum is text, and whatever else there is is JSON."""


def _definition_columns() -> Iterator[Column[Any]]:
    """A column for each field of a job's definition: a policy that has no column yet is found by `alembic check`."""
    for name, hint in get_type_hints(JobDefinition).items():
        kinds = [kind for kind in get_args(hint) if kind is not NoneType] if get_origin(hint) is UnionType else [hint]
        is_enum = isinstance(kinds[0], type) and issubclass(kinds[0], StrEnum)
        may_be_null = hint is Any or kinds != [hint]
        kind = Text if is_enum else _KINDS.get(kinds[0], JSONB)
        yield Column(name, kind, nullable=may_be_null, primary_key=name == "job_id")


jobs = Table(
    "jobs",
    metadata,
    *_definition_columns(),
    _required("digest", Text),
    _required("schedule_digest", Text),
    Column("declared_by", Text),
    Column("declared_since", _INSTANT),
    Column(
        "set_aside",
        Text,
        comment="digest of the definition of code that an operator's revert replaced",
    ),
    _required("anchor", _INSTANT),
    Column("next_run", _INSTANT, comment="the first occurrence that nobody has accounted for"),
    Column("due_at", _INSTANT, comment="when the leader looks at the cursor next; NULL: never by itself"),
    _required("version", BigInteger),
    Column("paused_at", _INSTANT),
    Column("paused_until", _INSTANT),
    Column("paused_by", Text),
    Column("pause_note", Text),
    Column("auto_disabled_at", _INSTANT),
    Column("finished_at", _INSTANT),
    Column("last_run", _INSTANT),
    _required("run_count", BigInteger),
    _required("error_count", BigInteger),
    _required("consecutive_failures", Integer),
    Column("last_status", Text),
    Column("last_error", Text),
    _required("created_at", _INSTANT),
    Column("application", Text, comment="whose code named the callback; NULL: no code did"),
    Column("added_at_run_time", Boolean, comment="by code that was running already: no start declares it anew"),
    Index("jobs_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("jobs_due_once", "due_at", postgresql_where=text("due_at IS NOT NULL AND delivery = 'at_most_once'")),
)

runs = Table(
    "runs",
    metadata,
    _required("run_id", Uuid),
    _required("job_id", Text),
    _required("job_name", Text),
    _required("scheduled_for", _INSTANT),
    _required("due_at", _INSTANT),
    _required("origin", Text),
    _required("status", Text),
    Column("reason", Text),
    _required("attempt", Integer),
    _required("deliveries", Integer),
    Column("next_attempt_at", _INSTANT),
    Column("started_at", _INSTANT),
    Column("attempt_started_at", _INSTANT),
    Column("finished_at", _INSTANT),
    Column("term", BigInteger),
    Column("instance_id", Text),
    _required("definition_version", BigInteger),
    Column("error", Text),
    Column("missed_count", BigInteger),
    Column("missed_from", _INSTANT),
    Column("rerun_of", Uuid),
    Column("cancel_requested_at", _INSTANT),
    Column("cancel_requested_by", Text),
    _required("created_at", _INSTANT),
    Column(
        "orphaned",
        BigInteger,
        comment="times that its owner died while nobody knew whether it had begun; NULL: never",
    ),
    Column("concurrency_key", Text, comment="the limit that it was admitted under; NULL: it was not, or needs not be"),
    Column("offered", Text, comment="the executor that may take it, whoever leads; NULL: the leader's to begin"),
    UniqueConstraint("job_id", "scheduled_for"),
    Index("runs_by_id", "run_id", postgresql_using="brin"),
    Index(
        "runs_unfinished",
        "run_id",
        postgresql_where=text("status IN ('pending', 'queued', 'running', 'retrying')"),
    ),
    Index(
        "runs_limited",
        "concurrency_key",
        postgresql_where=text("concurrency_key IS NOT NULL AND status IN ('pending', 'queued', 'running', 'retrying')"),
    ),
    Index(
        "runs_offered",
        text("COALESCE(next_attempt_at, due_at)"),
        postgresql_where=text("offered IS NOT NULL AND instance_id IS NULL AND status IN ('pending', 'retrying')"),
    ),
    Index("runs_cancelled", "cancel_requested_at", postgresql_where=text("cancel_requested_at IS NOT NULL")),
    postgresql_partition_by="RANGE (scheduled_for)",
)

attempts = Table(
    "attempts",
    metadata,
    _required("run_id", Uuid),
    _required("job_id", Text),
    _required("scheduled_for", _INSTANT),
    _required("attempt", Integer),
    Column("started_at", _INSTANT),
    Column("finished_at", _INSTANT),
    _required("outcome", Text),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("traceback", Text),
    _required("term", BigInteger),
    _required("instance_id", Text),
    _required("late", Boolean),
    UniqueConstraint("job_id", "scheduled_for", "attempt", "term", "outcome"),
    Index("attempts_by_run", "run_id"),
    postgresql_partition_by="RANGE (scheduled_for)",
)

calendars = Table(
    "calendars",
    metadata,
    Column("name", Text, primary_key=True),
    _required("excluded_dates", JSONB),
    _required("excluded_weekdays", ARRAY(Text)),
    _required("excluded_periods", JSONB),
    Column("note", Text),
    _required("version", BigInteger),
    _required("created_at", _INSTANT),
    _required("updated_at", _INSTANT),
    Column("updated_by", Text),
)


def _log(name: str, subject: str, *more: Any) -> Table:
    """An append-only table that triggers fill."""
    return Table(
        name,
        metadata,
        Column("change_id", BigInteger, Identity(always=True), primary_key=True),
        _required("changed_at", _INSTANT),
        _required(subject, Text),
        _required("version", BigInteger),
        _required("action", Text),
        _required("actor", Text),
        _required("source", Text),
        _required("database_user", Text),
        Column("old", JSONB),
        Column("new", JSONB),
        *more,
    )


job_changes = _log(
    "job_changes",
    "job_id",
    _required("effective_at", _INSTANT, comment="occurrences up to it were accounted for by the definition before"),
    Column("reverted_to", BigInteger),
    UniqueConstraint("job_id", "version"),
    Index("job_changes_at", "changed_at"),
)

calendar_changes = _log("calendar_changes", "name", Index("calendar_changes_by_name", "name", "change_id"))

leader = Table(
    "leader",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    _required("term", BigInteger),
    Column("nonce", Text, comment="names the leadership witness; NULL: the last leader resigned"),
    Column("instance_id", Text),
    _required("witnessed", Boolean),
    Column("acquired_at", _INSTANT),
    Column("preferred_successor", Text, comment="the replica in whose favour the last leader resigned"),
    _required("installation", Uuid, comment="names this schema among all others; a copy of the database bears it too"),
    Column(
        "control_pid", Integer, comment="the server process that holds the witness of nonce; NULL: any that holds it"
    ),
)

leader_terms = Table(
    "leader_terms",
    metadata,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    _required("instance_id", Text),
    _required("host", Text),
    _required("acquired_at", _INSTANT),
    Column("ended_at", _INSTANT),
    Column("end_reason", Text),
    Column("leaderless_for", Interval),
    Column("resign_requested_at", _INSTANT),
    Column("resign_requested_by", Text, comment="who asked the leader of this term to resign; NULL: nobody"),
)

admissions = Table(
    "admissions",
    metadata,
    Column("one", Boolean, primary_key=True),
    _required("number", BigInteger),
)

paces = Table(
    "paces",
    metadata,
    Column("key", Text, primary_key=True),
    _required("spent_to", _INSTANT),
)

instances = Table(
    "instances",
    metadata,
    Column("instance_id", Text, primary_key=True),
    _required("instance_name", Text),
    _required("host", Text),
    _required("pid", Integer),
    _required("version", Text),
    _required("eligible", Boolean),
    _required("callbacks", ARRAY(Text)),
    _required("started_at", _INSTANT),
    _required("last_seen", _INSTANT),
    Column("ended_at", _INSTANT),
    Column(
        "life_key",
        BigInteger,
        comment="advisory lock that is held while the process lives; NULL: not witnessed",
    ),
    Column("application", Text, comment="whose jobs it calls"),
    Column("packages", ARRAY(Text), comment="the top-level packages whose own functions it calls for its code's jobs"),
    Column("allows", ARRAY(Text), comment="allowed_callbacks, as LIKE has them"),
    Column("executes", ARRAY(Text), comment="the executors whose offered runs it takes; NULL: none"),
    Column("slots", Integer, comment="how many callbacks of each it executes at once"),
    Column("zone_release", Text, comment="the release of the time zone data that it goes by; NULL: it has not said"),
    Column("zones", ARRAY(Text), comment="the time zones that it knows; NULL: it has not said"),
    Column("boot", Text, comment="names the last start of its machine"),
    Column("clock_ahead", Double, comment="the database's clock minus its machine's, in seconds"),
    Column("control_pid", Integer, comment="the server process that holds life_key; NULL: any that holds it"),
)

clock = Table(
    "clock",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    _required("version", BigInteger, comment="raised by each agreement of an operator"),
    _required("database_at", _INSTANT),
    _required("wall_at", _INSTANT, comment="what the wall clock of the machine that took it showed at that moment"),
    _required("boot", Text),
    _required("boottime", Double, comment="seconds since that machine's start, which boot names"),
    _required("error", Double),
    _required("accepted_by", Text),
    comment="the reading of the database's clock that planning last went by",
)

clock_holds = Table(
    "clock_holds",
    metadata,
    Column("hold_id", BigInteger, Identity(always=True), primary_key=True),
    _required("version", BigInteger, comment="of clock, at that moment"),
    _required("expected_at", _INSTANT, comment="what the clock should have shown"),
    _required("database_at", _INSTANT),
    _required("wall_at", _INSTANT),
    _required("boot", Text),
    _required("boottime", Double),
    _required("error", Double),
    _required("evidence", Text),
    _required("term", BigInteger),
    _required("instance_id", Text),
    _required("told", Boolean, comment="an alarm was raised for it"),
    Column("ended_at", _INSTANT),
    Column("ended_why", Text),
    Index("clock_holds_open", "version", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("clock_holds_untold", "hold_id", postgresql_where=text("NOT told")),
    comment="why planning stopped: readings of the database's clock that were not believed",
)

table_families = Table(
    "table_families",
    metadata,
    Column("schema_name", Text, primary_key=True),
    Column("family", Text, primary_key=True),
    _required("partitioned", Boolean),
    _required("days_ahead", Integer),
    Column("retention_days", Integer),
    _required("declared_at", _INSTANT),
    comment="the families whose tables somebody creates: missed when they are not there",
)

daily_summaries = Table(
    "daily_summaries",
    metadata,
    Column("day", Date, primary_key=True),
    Column("job_id", Text, primary_key=True),
    _required("runs", BigInteger),
    _required("succeeded", BigInteger),
    _required("failed", BigInteger),
    _required("skipped", BigInteger),
    _required("missed", BigInteger),
    Column("p50_duration", Interval),
    Column("p95_duration", Interval),
    Column("p95_lateness", Interval),
    _required("is_final", Boolean, comment="the rows are dropped; false: they are about to be"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    _required("name", Text),
    _required("scope", Text),
    _required("token_digest", LargeBinary),
    _required("created_at", _INSTANT),
    _required("created_by", Text),
    Column("expires_at", _INSTANT),
    Column("revoked_at", _INSTANT),
    Column("revoked_by", Text),
    Column("last_used_at", _INSTANT),
    Index("api_tokens_by_digest", "token_digest", unique=True),
    Index("api_tokens_by_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

api_sessions = Table(
    "api_sessions",
    metadata,
    Column("session_digest", LargeBinary, primary_key=True),
    Column("token_id", Uuid, ForeignKey("api_tokens.token_id", ondelete="CASCADE"), nullable=False),
    _required("created_at", _INSTANT),
    _required("expires_at", _INSTANT),
    Index("api_sessions_by_token", "token_id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    _required("request_digest", LargeBinary),
    _required("run_id", Uuid, comment="the run that the request makes, if it makes one: known before it is made"),
    _required("claimed_at", _INSTANT),
    Column("status", Integer),
    Column("answer", JSONB),
    Index("idempotency_keys_by_age", "claimed_at"),
)

failed_attempts = Table(
    "failed_attempts",
    metadata,
    Column("failure_id", BigInteger, Identity(always=True), primary_key=True),
    _required("job_id", Text),
    _required("run_id", Uuid),
    _required("scheduled_for", _INSTANT),
    _required("attempt", Integer),
    _required("failed_at", _INSTANT),
    comment="attempts that failed and that nobody has looked at yet; a trigger fills it, a look at alarms empties it",
)

alarms = Table(
    "alarms",
    metadata,
    Column("alarm_id", BigInteger, Identity(always=True), primary_key=True),
    _required("kind", Text),
    _required("job_id", Text),
    _required("job_name", Text),
    _required("since", _INSTANT, comment="when the trouble began, as far as anybody knows"),
    _required("detail", Text),
    Column("run_id", Uuid),
    _required("failed_runs", BigInteger),
    _required("opened_at", _INSTANT),
    _required("last_at", _INSTANT),
    Column("closed_at", _INSTANT),
    Column("closed_why", Text),
    Index("alarms_open", "job_id", "kind", unique=True, postgresql_where=text("closed_at IS NULL")),
    Index("alarms_closed", "closed_at", postgresql_where=text("closed_at IS NOT NULL")),
)

notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", BigInteger, Identity(always=True), primary_key=True),
    _required("message_id", Uuid, comment="the same for every attempt: by it a receiver knows one that comes twice"),
    _required("event", Text),
    _required("body", JSONB),
    _required("created_at", _INSTANT),
    _required("attempts", Integer),
    _required("next_attempt_at", _INSTANT),
    _required("refused", Boolean, comment="the receiver will not have it; those behind it need not wait"),
    Column("claimed_by", Text),
    Column("last_error", Text),
    Column("delivered_at", _INSTANT),
    Column("given_up_at", _INSTANT),
    Index(
        "notifications_waiting",
        "notification_id",
        postgresql_where=text("delivered_at IS NULL AND given_up_at IS NULL"),
    ),
    Index(
        "notifications_ended",
        "created_at",
        postgresql_where=text("delivered_at IS NOT NULL OR given_up_at IS NOT NULL"),
    ),
)

alarm_watch = Table(
    "alarm_watch",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    _required("version", BigInteger, comment="of several replicas that look at once, one raises it and wins"),
    _required("looked_at", _INSTANT),
    _required("looked_by", Text),
    _required("term", BigInteger, comment="terms up to it are told"),
    Column("notifies_until", _INSTANT, comment="until then some replica is believed to deliver notifications"),
    _required("dropped", BigInteger, comment="notifications for which the outbox had no room"),
)

PARTITIONED = ("runs", "attempts")


def is_ours(_item: Any, name: str | None, kind: str, reflected: bool, _compared: Any) -> bool:
    """For Alembic's comparison: partitions come and go by themselves and belong to no migration."""
    if kind == "table" and reflected and name is not None:
        return name in metadata.tables
    return True
