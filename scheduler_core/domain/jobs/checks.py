"""The checks of a whole job: every field, then the relations between fields. All problems in one error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from scheduler_core.domain.errors import InvalidArgumentsError, InvalidJobError, InvalidScheduleError
from scheduler_core.domain.jobs import fields as check
from scheduler_core.domain.jobs.call_signature import CallSignature
from scheduler_core.domain.jobs.job_policies import POLICIES
from scheduler_core.domain.jobs.json_value import NotJsonError
from scheduler_core.domain.jobs.parameters import Problem
from scheduler_core.domain.schedule import Dst, Schedule, ScheduleType, parse_instant, parse_schedule
from scheduler_core.domain.schedule.base import EPOCH
from scheduler_core.domain.schedule.interval import IntervalSchedule
from scheduler_core.domain.schedule.wall_clock import WallClockSchedule
from scheduler_core.domain.wording import did_you_mean, shown

_COUNTER = check.whole_number(0, 2**63 - 1)

CHECKS: Mapping[str, check.Check] = {
    "job_id": check.check_name,
    "name": check.check_text,
    "schedule_type": check.choice(ScheduleType),
    "schedule_value": lambda value: value,
    "callback": check.check_callback,
    **{policy.name: policy.check for policy in POLICIES},
    "last_run": check.optional(check.check_bound),
    "next_run": check.optional(check.check_bound),
    "run_count": _COUNTER,
    "error_count": _COUNTER,
}
"""Every field of a job, with what it may be."""

REQUIRED = ("job_id", "name", "schedule_type", "schedule_value", "callback")
POSITIONAL = (
    *REQUIRED,
    "enabled",
    "use_distributed_lock",
    "lock_key",
    "lock_ttl",
    "last_run",
    "next_run",
    "run_count",
    "error_count",
    "max_retries",
)


def name_positional(positional: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments by name. Raises InvalidJobError for too many, for one given twice, and for a missing
    one.
    """
    if len(positional) > len(POSITIONAL):
        raise InvalidJobError(
            f"ScheduleJob takes {len(POSITIONAL)} positional arguments and got {len(positional)}: give those "
            f"after {POSITIONAL[-1]} by keyword."
        )
    given = dict(zip(POSITIONAL, positional, strict=False))
    for name in keywords:
        if name in given:
            raise InvalidJobError(f"{name} was given twice, by position and by keyword: give it once.")
    given.update(keywords)
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise InvalidJobError(
            f"A job{_which(given)} lacks {', '.join(missing)}: every job needs {', '.join(REQUIRED)}."
        )
    return given


def check_job(given: Mapping[str, Any], checks: Mapping[str, Callable[[Any], Any]] = CHECKS) -> dict[str, Any]:
    """Check the fields that are given, and their relations; return what is to be kept of each.

    Raises InvalidJobError, or InvalidScheduleError when only the schedule is wrong, InvalidArgumentsError when only
    the arguments are; with every problem in one line.
    """
    kept: dict[str, Any] = {}
    callback = given.get("callback")
    given, problems = _store_arguments(callback, given) if callable(callback) else (given, {})
    for name, value in given.items():
        field_check = checks.get(name)
        if field_check is None:
            problems[shown(name)] = f"there is no such field{did_you_mean(name, checks)}, correct or remove it"
            continue
        try:
            kept[name] = field_check(value)
        except NotJsonError as error:
            _tell(problems, name, f"{error}{_hint(error, callback, given)}")
        except ValueError as error:
            _tell(problems, name, str(error))
    for name, problem in check_relations(kept):
        problems.setdefault(name, problem)
    if problems:
        kind = next((kind for fields, kind in _KINDS if problems.keys() <= fields), InvalidJobError)
        listed = "; ".join(f"{name}: {problem.rstrip('.')}" for name, problem in problems.items())
        raise kind(f"The job{_which(given)} can't be accepted: {listed}.")
    return kept


_KINDS: tuple[tuple[frozenset[str], type[InvalidJobError]], ...] = (
    (frozenset({"schedule_type", "schedule_value", "timezone", "start_at", "end_at"}), InvalidScheduleError),
    (frozenset({"args", "kwargs"}), InvalidArgumentsError),
)


def _store_arguments(
    callback: Callable[..., Any], given: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The job's fields with its arguments as the callback's annotations say that they are stored; what is wrong."""
    args, kwargs = _arguments(given)
    if not _are_arguments(args, kwargs):
        # The checks of the fields say that.
        return given, {}
    signature = CallSignature.of(callback)
    problems: dict[str, str] = {}
    for problem in signature.problems(len(args), tuple(kwargs)):
        _tell(problems, problem.field, problem.text)
    if not args and not kwargs:
        return given, problems
    stored_args, stored_kwargs, found = signature.store(args, kwargs)
    for problem in found:
        _tell(problems, problem.field, problem.text)
    stored = {"args": stored_args, "kwargs": stored_kwargs}
    return {name: stored.get(name, value) for name, value in given.items()}, problems


def find_call_problems(callback: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Problem]:
    """What keeps a callback from being called with so many arguments and these keywords; nothing if it is a name."""
    return CallSignature.of(callback).problems(len(args), tuple(kwargs)) if callable(callback) else ()


def _hint(error: NotJsonError, callback: Any, given: Mapping[str, Any]) -> str:
    """How a value of another type could be an argument."""
    if not error.is_of_other_type:
        return ""
    if isinstance(callback, str):
        return ", or give the callback as a function: its annotations say how other values are read back"
    args, kwargs = _arguments(given)
    if not callable(callback) or not error.steps or not _are_arguments(args, kwargs):
        return ""
    return CallSignature.of(callback).hint(args, kwargs, error.steps[-1])


def _arguments(given: Mapping[str, Any]) -> tuple[Any, Any]:
    return given.get("args", ()), given.get("kwargs", {})


def _are_arguments(args: Any, kwargs: Any) -> bool:
    return isinstance(args, (list, tuple)) and isinstance(kwargs, dict) and {*map(type, kwargs)} <= {str}


def _tell(problems: dict[str, str], name: str, problem: str) -> None:
    problems[name] = f"{problems[name]}; {problem}" if name in problems else problem


def _which(given: Mapping[str, Any]) -> str:
    return f" {shown(given['job_id'])}" if "job_id" in given else ""


def check_relations(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Problems between fields, as far as each of them is right by itself: (field, problem)."""
    problems: list[tuple[str, str]] = []
    start_at, end_at = kept.get("start_at"), kept.get("end_at")
    zone = kept.get("timezone")
    if start_at is not None and end_at is not None and _is_not_before(start_at, end_at, zone):
        problems.append(
            (
                "start_at",
                f"{start_at} is not before end_at {end_at}, give a later end_at or an earlier start_at",
            )
        )
    elif "schedule_type" in kept and "schedule_value" in kept:
        problems += _check_schedule(kept)
    delay, most = kept.get("retry_delay", 1.0), kept.get("retry_max_delay", 60.0)
    if most < delay:
        problems.append(
            ("retry_max_delay", f"{most:g} seconds is less than retry_delay, {delay:g}, give at least that")
        )
    return problems


def _is_not_before(start_at: datetime, end_at: datetime, zone: str | None) -> bool:
    """Whether the bounds are the wrong way round; False where only the zone, not known yet, can tell."""
    if zone is None and (start_at.tzinfo is None) != (end_at.tzinfo is None):
        return False
    return parse_instant(start_at, zone or "UTC") >= parse_instant(end_at, zone or "UTC")


def _check_schedule(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    kind, value, zone = kept["schedule_type"], kept["schedule_value"], kept.get("timezone")
    bounds = {name: kept.get(name) for name in ("start_at", "end_at")}
    if zone is None:
        # Without a zone nothing on the wall can be compared with a bound; `definition` does so once it is
        # known.
        bounds = {}
    try:
        schedule = parse_schedule(
            kind, value, timezone=zone or "UTC", anchor=EPOCH, dst=kept.get("dst", Dst.ONCE), **bounds
        )
    except InvalidScheduleError as error:
        return [("schedule_value", str(error))]
    problem = find_jitter_problem(schedule, kept.get("jitter", 0.0))
    return [("jitter", problem)] if problem else []


def find_jitter_problem(schedule: Schedule, jitter_seconds: float) -> str | None:
    """What is wrong with the jitter of a job on this schedule; None when nothing.

    Of a job whose occurrences may start later than the next one is due several would start at once.
    """
    if jitter_seconds <= 0:
        return None
    if isinstance(schedule, IntervalSchedule):
        gap_seconds, between = schedule.step / 1e6, "the interval of"
    elif isinstance(schedule, WallClockSchedule):
        gap_seconds, between = schedule.pattern.shortest_gap() or math.inf, "the least that lies between two times,"
    else:
        return None
    if jitter_seconds < gap_seconds:
        return None
    return f"{jitter_seconds:.12g} seconds is not less than {between} {gap_seconds:.12g}, give less"
