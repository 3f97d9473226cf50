"""Jobs: what code declares (`ScheduleJob`), what is stored of it (`JobDefinition`), and its state
(`JobStatus`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from scheduler_core.domain.jobs.callback import callback_reference, is_importable_reference
from scheduler_core.domain.jobs.checks import check_job, find_call_problems, name_positional
from scheduler_core.domain.jobs.digest import canonical_json, digest_of, schedule_digest_of
from scheduler_core.domain.jobs.fields import (
    check_args,
    check_kwargs,
)
from scheduler_core.domain.jobs.job_policies import POLICY
from scheduler_core.domain.jobs.limit import Limit, parse_rate
from scheduler_core.domain.jobs.policies import Delivery, Misfire, Overlap
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.domain.schedule import (
    Dst,
    Schedule,
    ScheduleType,
    ScheduleValue,
    Times,
    normalize_value,
    parse_instant,
    parse_schedule,
)
from scheduler_core.domain.signature import written_out
from scheduler_core.domain.value import value as value_class

__all__ = [
    "Delivery",
    "JobDefinition",
    "Misfire",
    "Overlap",
    "ScheduleJob",
    "callback_reference",
    "is_importable_reference",
]

_WALL_CLOCK = (ScheduleType.DAILY, ScheduleType.CRON)


F = TypeVar("F", bound=Callable[..., Any])
Names: TypeAlias = list[str] | tuple[str, ...] | set[str] | frozenset[str]

NO_KWARGS: dict[str, Any] = {}
"""How a signature says that there are none."""


def _construct(self: ScheduleJob, /, *positional: Any, **keywords: Any) -> None:
    BaseModel.__init__(self, **check_job(name_positional(positional, keywords)))


class ScheduleJob(BaseModel):
    """A job as code declares it: what to call, on which schedule, under which policies.

    `domain/jobs/fields.py` says what each field may be. Durations are seconds, or timedeltas. `last_run`, `next_run`,
    `run_count` and `error_count` are state: Postgres holds it, and what is given here is not stored.

    Arguments are kept as JSON, as the database will give them back (docs/arguments.md); values of other types are
    taken where the callback's annotations say how they are read.

    After a refused assignment the job is as it was.

    Args:
        job_id: 1 to 200 printable characters, with no space at either end; one id is one job, wherever it is declared.
        name: For people, 1 to 200 characters.
        schedule_type: `interval`, `daily`, `once` or `cron`.
        schedule_value: INTERVAL: seconds or a timedelta, from 0.001 s to ten years. DAILY: "HH:MM", "HH:MM:SS", a naive
            `time`, or several. ONCE: an instant, or None for the moment at which the job is first stored. CRON: an
            expression.
        callback: What to call: a function, or its name as `module:qualname`.
        enabled: False: it does not fire by its schedule.
        use_distributed_lock: Whether each run holds a lock in Redis until it has ended; one that finds it held is
            skipped.
        lock_key: The lock's key; jobs with one key exclude each other. None: one of the job's own.
        lock_ttl: After how many seconds the lock ends by itself once its holder has died; a living one renews it.
        last_run: State: when its latest run began.
        next_run: State: the next occurrence.
        run_count: State: how many runs have ended.
        error_count: State: how many attempts have failed.
        max_retries: How many attempts follow one that failed, 0 to 1,000.
        args: Positional arguments: JSON values, or what the callback's annotations say how to read.
        kwargs: Keyword arguments, of the same.
        timezone: An IANA name. None: that of the settings, else the host's.
        start_at: The earliest occurrence, inclusive, and what an INTERVAL counts from; without an offset a wall time in
            the job's zone. None: no bound.
        end_at: The latest occurrence, inclusive; without an offset a wall time in the job's zone. None: no bound.
        jitter: By how many seconds at most an occurrence starts later than its instant; the same on every replica.
        calendars: Names of calendars, at most 100; an occurrence fires if all of them allow it.
        misfire: What becomes of occurrences that are planned more than `misfire_grace` late. `latest`: the latest one
            fires. `all`: all fire, in order, at most `catch_up_limit`. `skip`: none fires.
        misfire_grace: Seconds within which a late occurrence fires all the same.
        catch_up_limit: The most occurrences that are made up for with `misfire="all"`, the newest; 1 to 1,000,000.
        overlap: What becomes of an occurrence that is due while the job's previous run still runs. `skip`: it is
            skipped. `allow`: both run. `queue`: it waits.
        delivery: What becomes of a run whose owner died while it ran. `at_least_once`: it runs again on the successor.
            `at_most_once`: it is `lost`, and never runs again by itself.
        timeout: After how many seconds an attempt is cut off; a function in a thread ends when it returns. None: never.
        retry_delay: Seconds until the first retry; each wait after it is twice as long, and up to a quarter of this
            longer by chance.
        retry_max_delay: The longest such wait in seconds, without what chance adds; at least `retry_delay`.
        disable_after: After how many failed runs in a row the job is disabled, 1 to 1,000,000. None: never.
        executor: Where the callback is called: `local`, `replicas`, `process`, `dask` or a plug-in's name. Not given:
            the settings' `default_executor`.
        concurrency_key: What runs are counted under; a key without limit and rate lets one run execute. None: the job's
            own.
        concurrency_limit: How many runs of all jobs with the key execute at once, 1 to 1,000,000. None: no limit.
        rate_limit: How many runs of all jobs with the key begin, as "100/minute": per second, minute, hour or day.
            None: no limit.
        priority: 0 first, 9 last, among runs that wait for a place.
        tags: Names for people to find jobs by, at most 100.
        dst: What DAILY and CRON do with wall times that a change of the UTC offset skips or repeats. `once`: a skipped
            one fires after the gap, a repeated one at the first. `skip`: a skipped one does not fire. `both`: a
            repeated one fires twice.

    Raises:
        InvalidJobError: At construction and at assignment, with every wrong field in one line.
        InvalidScheduleError: The same, when only the schedule is wrong.
        InvalidArgumentsError: The same, when only the arguments are.
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
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    rate_limit: str | None = None
    priority: int = 5
    tags: tuple[str, ...] = ()
    dst: Dst = Dst.ONCE

    @written_out(_construct)
    def __init__(
        self,
        job_id: str,
        name: str,
        schedule_type: ScheduleType | str,
        schedule_value: ScheduleValue,
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
        args: list[Any] | tuple[Any, ...] = (),
        kwargs: dict[str, Any] = NO_KWARGS,
        timezone: str | ZoneInfo | None = None,
        start_at: datetime | str | None = None,
        end_at: datetime | str | None = None,
        jitter: float | timedelta = 0.0,
        calendars: Names = (),
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
        concurrency_key: str | None = None,
        concurrency_limit: int | None = None,
        rate_limit: str | None = None,
        priority: int = 5,
        tags: Names = (),
        dst: Dst | str = Dst.ONCE,
    ) -> None: ...

    if not TYPE_CHECKING:  # else any assignment would do

        def __setattr__(self, name: str, value: Any) -> None:
            # Relations between fields hold after an assignment as well, so the whole job is checked anew.
            kept = check_job({**self.__dict__, name: value})
            super().__setattr__(name, kept[name])

    def definition(self, default_timezone: str, *, default_executor: str = LOCAL) -> JobDefinition:
        """What is stored of this job: its fields without state, in canonical form.

        Args:
            default_timezone: The IANA name that fills in for a job without `timezone`.
            default_executor: What executes a job that says nothing of it.

        Returns:
            The definition; two that mean the same are equal.

        Raises:
            InvalidScheduleError: The schedule can never fire within bounds that are in that zone.
            InvalidArgumentsError: Arguments that were changed in place since are none that the callback takes, or that
                can be stored.
        """
        zone = self.timezone or default_timezone
        given = self.__dict__
        values = {name: given[name] for name in DEFINITION_FIELDS}
        values["timezone"] = zone
        if "executor" not in self.model_fields_set:
            values["executor"] = default_executor
        # Lists and dicts may have been changed in place since they were checked, and may yet be.
        values |= self._arguments()
        values["schedule_value"] = normalize_value(self.schedule_type, self.schedule_value, zone)
        values["callback"] = self.callback if isinstance(self.callback, str) else callback_reference(self.callback)
        for bound in ("start_at", "end_at"):
            values[bound] = None if values[bound] is None else parse_instant(values[bound], zone)
        definition = JobDefinition(**values)
        if self.timezone is None:
            definition.schedule(ANY_ANCHOR)
        return definition

    def _arguments(self) -> dict[str, Any]:
        """The arguments as they are now."""
        args, kwargs = self.args, self.kwargs
        if not args and not kwargs:
            return {"args": (), "kwargs": {}}
        try:
            kept = {"args": check_args(args), "kwargs": check_kwargs(kwargs)}
        except ValueError:
            kept = {}
        if kept == {"args": args, "kwargs": kwargs} and not find_call_problems(self.callback, args, kwargs):
            return kept
        kept = check_job({name: self.__dict__[name] for name in ("job_id", "callback", "args", "kwargs")})
        return {name: kept[name] for name in ("args", "kwargs")}


POLICY_DEFAULTS: Mapping[str, Any] = {
    name: ScheduleJob.model_fields[name].get_default(call_default_factory=True) for name in POLICY
}
"""What a policy is that was not given. (`timezone`, None, is the settings' default when the job is stored.)"""


# Beside the class, though what it does is `scheduler_core.service`'s: a new policy is a parameter of both.
def job(
    job_id: str,
    *,
    every: float | str | timedelta | None = None,
    daily: Times | None = None,
    cron: str | None = None,
    once: datetime | str | EllipsisType | None = ...,
    name: str | None = None,
    enabled: bool = True,
    use_distributed_lock: bool = False,
    lock_key: str | None = None,
    lock_ttl: float | timedelta = 300.0,
    max_retries: int = 3,
    args: list[Any] | tuple[Any, ...] = (),
    kwargs: dict[str, Any] = NO_KWARGS,
    timezone: str | ZoneInfo | None = None,
    start_at: datetime | str | None = None,
    end_at: datetime | str | None = None,
    jitter: float | timedelta = 0.0,
    calendars: Names = (),
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
    concurrency_key: str | None = None,
    concurrency_limit: int | None = None,
    rate_limit: str | None = None,
    priority: int = 5,
    tags: Names = (),
    dst: Dst | str = Dst.ONCE,
) -> Callable[[F], F]:
    """Declare a function as a job: `@job("daily_report", daily="14:30")`.

    Exactly one of `every`, `daily`, `cron` and `once` is given. Durations are seconds, or timedeltas. The function
    stays as it is.

    Args:
        job_id: 1 to 200 printable characters, with no space at either end; one id is one job, wherever it is declared.
        every: INTERVAL: seconds or a timedelta, from 0.001 s to ten years.
        daily: DAILY: "HH:MM", "HH:MM:SS", a naive `time`, or several.
        cron: CRON: an expression.
        once: ONCE: an instant, or None for the moment at which the job is first stored.
        name: For people, 1 to 200 characters. None: the `job_id`.
        enabled: False: it does not fire by its schedule.
        use_distributed_lock: Whether each run holds a lock in Redis until it has ended; one that finds it held is
            skipped.
        lock_key: The lock's key; jobs with one key exclude each other. None: one of the job's own.
        lock_ttl: After how many seconds the lock ends by itself once its holder has died; a living one renews it.
        max_retries: How many attempts follow one that failed, 0 to 1,000.
        args: Positional arguments: JSON values, or what the callback's annotations say how to read.
        kwargs: Keyword arguments, of the same.
        timezone: An IANA name. None: that of the settings, else the host's.
        start_at: The earliest occurrence, inclusive, and what an INTERVAL counts from; without an offset a wall time in
            the job's zone. None: no bound.
        end_at: The latest occurrence, inclusive; without an offset a wall time in the job's zone. None: no bound.
        jitter: By how many seconds at most an occurrence starts later than its instant; the same on every replica.
        calendars: Names of calendars, at most 100; an occurrence fires if all of them allow it.
        misfire: What becomes of occurrences that are planned more than `misfire_grace` late. `latest`: the latest one
            fires. `all`: all fire, in order, at most `catch_up_limit`. `skip`: none fires.
        misfire_grace: Seconds within which a late occurrence fires all the same.
        catch_up_limit: The most occurrences that are made up for with `misfire="all"`, the newest; 1 to 1,000,000.
        overlap: What becomes of an occurrence that is due while the job's previous run still runs. `skip`: it is
            skipped. `allow`: both run. `queue`: it waits.
        delivery: What becomes of a run whose owner died while it ran. `at_least_once`: it runs again on the successor.
            `at_most_once`: it is `lost`, and never runs again by itself.
        timeout: After how many seconds an attempt is cut off; a function in a thread ends when it returns. None: never.
        retry_delay: Seconds until the first retry; each wait after it is twice as long, and up to a quarter of this
            longer by chance.
        retry_max_delay: The longest such wait in seconds, without what chance adds; at least `retry_delay`.
        disable_after: After how many failed runs in a row the job is disabled, 1 to 1,000,000. None: never.
        executor: Where the callback is called: `local`, `replicas`, `process`, `dask` or a plug-in's name. Not given:
            the settings' `default_executor`.
        concurrency_key: What runs are counted under; a key without limit and rate lets one run execute. None: the job's
            own.
        concurrency_limit: How many runs of all jobs with the key execute at once, 1 to 1,000,000. None: no limit.
        rate_limit: How many runs of all jobs with the key begin, as "100/minute": per second, minute, hour or day.
            None: no limit.
        priority: 0 first, 9 last, among runs that wait for a place.
        tags: Names for people to find jobs by, at most 100.
        dst: What DAILY and CRON do with wall times that a change of the UTC offset skips or repeats. `once`: a skipped
            one fires after the gap, a repeated one at the first. `skip`: a skipped one does not fire. `both`: a
            repeated one fires twice.

    Returns:
        A decorator, which returns the function itself.

    Raises:
        InvalidJobError: A field can't be accepted, or the id stands at another function already.
        InvalidScheduleError: Only the schedule is wrong.
        InvalidArgumentsError: Only the arguments are.
    """
    raise AssertionError("a signature, which scheduler_core.service carries out")


@value_class(frozen=True, slots=True, kw_only=True)
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
    concurrency_key: str | None
    concurrency_limit: int | None
    rate_limit: str | None
    priority: int
    tags: tuple[str, ...]
    use_distributed_lock: bool
    lock_key: str | None
    lock_ttl: float

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
    def limit(self) -> Limit | None:
        """What its runs are counted under; None where any number may begin, and execute at once.

        A key alone lets one run execute; what has no key is the job's own.
        """
        if self.concurrency_key is None and self.concurrency_limit is None and self.rate_limit is None:
            return None
        rate = None if self.rate_limit is None else parse_rate(self.rate_limit)
        most = 1 if self.concurrency_limit is None and rate is None else self.concurrency_limit
        return Limit(self.concurrency_key or f"job:{self.job_id}", most, rate)

    @property
    def shared(self) -> tuple[Any, ...]:
        """The values of SHARED_FIELDS, in that order: what many jobs have in common."""
        return _get_shared(self)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all fields: equal definitions have equal digests, in any process."""
        return digest_of(canonical_json(_get_own(self)) + shared_json(self.shared))

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
        return schedule_digest_of(self.schedule_type, value, self.start_at, self.end_at, self.calendars, zone, dst)


DEFINITION_FIELDS = tuple(item.name for item in fields(JobDefinition))
"""In the order of the class, which is that of the columns."""
STATE_FIELDS = tuple(name for name in ScheduleJob.model_fields if name not in DEFINITION_FIELDS)
"""Of a `ScheduleJob`: what Postgres holds. In `@job`, or in a file, it would be dropped in silence."""

OWN_FIELDS = ("job_id", "name", "schedule_value", "start_at", "end_at", "args", "kwargs")
SHARED_FIELDS = tuple(name for name in DEFINITION_FIELDS if name not in OWN_FIELDS)
"""Policies, callback, time zone: what many jobs have in common, and so is checked, written and sent once."""

_get_own = attrgetter(*OWN_FIELDS)
_get_shared = attrgetter(*SHARED_FIELDS)
ANY_ANCHOR = datetime(2000, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4_096)
def shared_json(shared: tuple[Any, ...]) -> str:
    """The `shared` of a definition as a JSON object, the same text in any process."""
    return canonical_json(dict(zip(SHARED_FIELDS, shared, strict=True)))
