"""Jobs: what code declares (`ScheduleJob`), what is stored of it (`JobDefinition`), and its state
(`JobStatus`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from scheduler_core.domain.callback import callback_reference, is_importable_reference
from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.job_checks import CHECKS, check_job, check_relations, name_positional
from scheduler_core.domain.job_fields import check_text
from scheduler_core.domain.policies import Delivery, Misfire, Overlap
from scheduler_core.domain.schedule import (
    Dst,
    Schedule,
    ScheduleType,
    normalize_value,
    parse_instant,
    parse_schedule,
)
from scheduler_core.domain.wording import shown

__all__ = [
    "Delivery",
    "JobDefinition",
    "JobStatus",
    "Misfire",
    "Overlap",
    "ScheduleJob",
    "callback_reference",
    "is_importable_reference",
]

# The name of a callback as it is stored: a lambda's can't be imported, so it is no `module:qualname`. As long as
# any that code may give.
_STORED_CHECKS = {**CHECKS, "callback": lambda value: check_text(value, 1_000)}

_WALL_CLOCK = (ScheduleType.DAILY, ScheduleType.CRON)


class ScheduleJob(BaseModel):
    """A job as code declares it: what to call, on which schedule, under which policies.

    INTERFACE.md says what each field may be. Durations are seconds, or timedeltas. `last_run`, `next_run`,
    `run_count` and `error_count` are state: Postgres holds it, and what is given here is not stored.

    Raises InvalidJobError (InvalidScheduleError when only the schedule is wrong), at construction and at
    assignment, with every wrong field in one line; after a refused assignment the job is as it was.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, arbitrary_types_allowed=True)

    job_id: str
    name: str
    schedule_type: ScheduleType
    schedule_value: Any
    callback: Any
    enabled: bool = True
    use_distributed_lock: bool = False
    lock_key: str | None = None
    lock_ttl: float = 300.0
    last_run: datetime | None = None
    next_run: datetime | None = None
    run_count: int = 0
    error_count: int = 0
    max_retries: int = 3
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = Field(default_factory=dict)
    timezone: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: float = 0.0
    calendars: tuple[str, ...] = ()
    misfire: Misfire = Misfire.LATEST
    misfire_grace: float = 10.0
    catch_up_limit: int = 100
    overlap: Overlap = Overlap.SKIP
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    timeout: float | None = None
    retry_delay: float = 1.0
    retry_max_delay: float = 60.0
    disable_after: int | None = None
    executor: str = "local"
    tags: tuple[str, ...] = ()
    dst: Dst = Dst.ONCE

    if TYPE_CHECKING:

        def __init__(
            self,
            job_id: str,
            name: str,
            schedule_type: ScheduleType | str,
            schedule_value: Any,
            callback: Callable[..., Any] | str,
            enabled: bool = True,
            use_distributed_lock: bool = False,
            lock_key: str | None = None,
            lock_ttl: float | timedelta = 300.0,
            last_run: datetime | None = None,
            next_run: datetime | None = None,
            run_count: int = 0,
            error_count: int = 0,
            max_retries: int = 3,
            *,
            args: Sequence[Any] = (),
            kwargs: Mapping[str, Any] = ...,
            timezone: str | None = None,
            start_at: datetime | str | None = None,
            end_at: datetime | str | None = None,
            jitter: float | timedelta = 0.0,
            calendars: Sequence[str] = (),
            misfire: Misfire | str = Misfire.LATEST,
            misfire_grace: float | timedelta = 10.0,
            catch_up_limit: int = 100,
            overlap: Overlap | str = Overlap.SKIP,
            delivery: Delivery | str = Delivery.AT_LEAST_ONCE,
            timeout: float | timedelta | None = None,
            retry_delay: float | timedelta = 1.0,
            retry_max_delay: float | timedelta = 60.0,
            disable_after: int | None = None,
            executor: str = "local",
            tags: Sequence[str] = (),
            dst: Dst | str = Dst.ONCE,
        ) -> None: ...

    else:

        def __init__(self, *positional: Any, **keywords: Any) -> None:
            super().__init__(**check_job(name_positional(positional, keywords)))

        def __setattr__(self, name: str, value: Any) -> None:
            # Relations between fields hold after an assignment as well, so the whole job is checked anew.
            kept = check_job({**self.__dict__, name: value})
            super().__setattr__(name, kept[name])

    def definition(self, default_timezone: str) -> JobDefinition:
        """What is stored of this job: its fields without state, in canonical form.

        Parameters: default_timezone, the IANA name that fills in for a job without `timezone`.
        Raises InvalidScheduleError if the schedule can never fire within bounds that are in that zone.
        """
        zone = self.timezone or default_timezone
        given = self.__dict__
        values = {name: given[name] for name in _DEFINITION_FIELDS}
        values["timezone"] = zone
        values["schedule_value"] = normalize_value(self.schedule_type, self.schedule_value, zone)
        values["callback"] = self.callback if isinstance(self.callback, str) else callback_reference(self.callback)
        for bound in ("start_at", "end_at"):
            values[bound] = None if values[bound] is None else parse_instant(values[bound], zone)
        definition = JobDefinition(**values)
        if self.timezone is None:
            definition.schedule(_ANY_ANCHOR)
        return definition


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """A job as it is stored: all that code decides, nothing that happened to it. Field names are those of
    SQL.

    Durations are seconds; `schedule_value` is canonical (see `normalize_value`); instants are in UTC;
    `callback` is a name (see `callback_reference`). Two definitions that mean the same are equal.
    """

    job_id: str
    name: str
    schedule_type: ScheduleType
    schedule_value: Any = field(hash=False)
    timezone: str
    start_at: datetime | None
    end_at: datetime | None
    dst: Dst
    jitter: float
    calendars: tuple[str, ...]
    callback: str
    args: tuple[Any, ...] = field(hash=False)
    kwargs: dict[str, Any] = field(hash=False)
    enabled: bool
    misfire: Misfire
    misfire_grace: float
    catch_up_limit: int
    overlap: Overlap
    delivery: Delivery
    timeout: float | None
    max_retries: int
    retry_delay: float
    retry_max_delay: float
    disable_after: int | None
    executor: str
    tags: tuple[str, ...]
    use_distributed_lock: bool
    lock_key: str | None
    lock_ttl: float

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> JobDefinition:
        """A definition from the columns of a row, which is checked like any input: it may have been edited
        by hand.

        Raises InvalidJobError if a value is not acceptable or a column is missing.
        """
        missing = [name for name in _DEFINITION_FIELDS if name not in columns]
        if missing:
            raise InvalidJobError(f"The job's row lacks {', '.join(missing)}: migrate the schema, or correct the row.")
        values = _check_row({name: columns[name] for name in _DEFINITION_FIELDS})
        zone = values["timezone"]
        if zone is None:
            raise InvalidJobError(f"The job {shown(values['job_id'])} is stored without a timezone: set the column.")
        values["schedule_value"] = normalize_value(values["schedule_type"], values["schedule_value"], zone)
        for bound in ("start_at", "end_at"):
            values[bound] = None if values[bound] is None else parse_instant(values[bound], zone)
        return cls(**values)

    def schedule(self, anchor: datetime) -> Schedule:
        """The schedule of the job that was first stored at `anchor`, an aware instant."""
        return parse_schedule(
            self.schedule_type,
            self.schedule_value,
            timezone=self.timezone,
            anchor=anchor,
            start_at=self.start_at,
            end_at=self.end_at,
            dst=self.dst,
        )

    @property
    def shared(self) -> tuple[Any, ...]:
        """The values of SHARED_FIELDS, in that order: what many jobs have in common."""
        return _get_shared(self)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all fields: equal definitions have equal digests, in any process."""
        return _digest_of(_canonical_json(_get_own(self)) + shared_json(self.shared))

    @property
    def schedule_digest(self) -> str:
        """SHA-256, in hex, of what determines the instants, and nothing else: while it stays, `next_run`
        stays.
        """
        value = tuple(self.schedule_value) if isinstance(self.schedule_value, list) else self.schedule_value
        # INTERVAL and ONCE are stored in UTC, and their instants stay when the zone changes; days of a
        # calendar don't.
        on_the_wall = self.schedule_type in _WALL_CLOCK
        zone = self.timezone if on_the_wall or self.calendars else None
        dst = self.dst if on_the_wall else None
        return _schedule_digest(self.schedule_type, value, self.start_at, self.end_at, self.calendars, zone, dst)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What is known of a job's state: from memory (`get_job_status`) or from the database
    (`fetch_job_status`).
    """

    job_id: str
    name: str
    enabled: bool
    last_run: datetime | None
    next_run: datetime | None
    run_count: int
    error_count: int
    consecutive_failures: int
    running: bool
    paused: bool
    last_status: str | None
    last_error: str | None


_DEFINITION_FIELDS = tuple(item.name for item in fields(JobDefinition))
OWN_FIELDS = ("job_id", "name", "schedule_value", "start_at", "end_at", "args", "kwargs")
SHARED_FIELDS = tuple(name for name in _DEFINITION_FIELDS if name not in OWN_FIELDS)
"""Policies, callback, time zone: what many jobs have in common, and so is checked, written and sent once."""

_get_own = attrgetter(*OWN_FIELDS)
_get_shared = attrgetter(*SHARED_FIELDS)
_ANY_ANCHOR = datetime(2000, 1, 1, tzinfo=UTC)


def _check_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's fields as they are to be kept. Many jobs share their policies: those are checked once."""
    try:
        shared = _check_shared(
            tuple(tuple(v) if isinstance(v, list) else v for v in map(row.__getitem__, SHARED_FIELDS))
        )
        kept = shared | {name: CHECKS[name](row[name]) for name in OWN_FIELDS}
    except Exception:  # noqa: BLE001 - whatever a value's own methods raise
        # The whole check says it well.
        return check_job(row, _STORED_CHECKS)
    return kept if not check_relations(kept) else check_job(row, _STORED_CHECKS)


@lru_cache(maxsize=4_096)
def _check_shared(values: tuple[Any, ...]) -> dict[str, Any]:
    return check_job(dict(zip(SHARED_FIELDS, values, strict=True)), _STORED_CHECKS)


_canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=datetime.isoformat).encode


@lru_cache(maxsize=4_096)
def shared_json(shared: tuple[Any, ...]) -> str:
    """The `shared` of a definition as a JSON object, the same text in any process."""
    return _canonical_json(dict(zip(SHARED_FIELDS, shared, strict=True)))


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4_096)
def _schedule_digest(
    kind: ScheduleType,
    value: Any,
    start_at: datetime | None,
    end_at: datetime | None,
    calendars: tuple[str, ...],
    timezone: str | None,
    dst: Dst | None,
) -> str:
    """Many jobs share a schedule."""
    what: dict[str, Any] = {
        "schedule_type": kind,
        "schedule_value": value,
        "start_at": start_at,
        "end_at": end_at,
        "calendars": calendars,
    }
    what |= {name: given for name, given in (("timezone", timezone), ("dst", dst)) if given is not None}
    return _digest_of(_canonical_json(what))
