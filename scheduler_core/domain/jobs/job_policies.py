"""The policies of a job: one row each. Checks, files of jobs, the API's body and the dashboard's form read this table.

A new policy is a row here, a field of `ScheduleJob` and `JobDefinition` with its default (`domain.job`), a parameter of
`@job`, a column, and whatever goes by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from scheduler_core.domain.jobs import fields as check
from scheduler_core.domain.jobs.limit import check_rate
from scheduler_core.domain.jobs.policies import Delivery, Misfire, Overlap
from scheduler_core.domain.schedule import Dst


class Group(StrEnum):
    """Under which heading a form shows a policy."""

    WHEN = "What and when"
    LATE = "What if it is late, or still runs"
    FAILED = "What if it fails"
    CALL = "What it is called with"


class Kind(StrEnum):
    """How a policy is written as text."""

    TEXT = "text"
    NUMBER = "number"
    JSON = "json"
    NAMES = "names"
    INSTANT = "instant"
    FLAG = "flag"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy.

    Parameters: check, takes what was given and returns what is kept, or raises ValueError; label and hint, for people;
    group, None where only code says it; choices, of the kind that has them.
    """

    name: str
    check: check.Check
    label: str
    kind: Kind
    group: Group | None = None
    hint: str = ""
    choices: tuple[str, ...] = ()


def _choice(name: str, kind: type[StrEnum], label: str, group: Group) -> Policy:
    return Policy(name, check.choice(kind), label, Kind.CHOICE, group, choices=tuple(str(one.value) for one in kind))


_PARTED = "Parted by commas"
_SECONDS = "Seconds"

POLICIES: tuple[Policy, ...] = (
    Policy("enabled", check.check_flag, "Enabled", Kind.FLAG, Group.WHEN, choices=("yes", "no")),
    Policy("use_distributed_lock", check.check_flag, "Distributed lock", Kind.FLAG, choices=("yes", "no")),
    Policy("lock_key", check.optional(check.check_name), "Lock key", Kind.TEXT),
    Policy("lock_ttl", check.seconds(0.001), "Lock TTL", Kind.NUMBER, hint=_SECONDS),
    Policy("max_retries", check.whole_number(0, 1000), "Retries", Kind.NUMBER, Group.FAILED),
    Policy("args", check.check_args, "Arguments", Kind.JSON, Group.CALL, "A JSON list"),
    Policy("kwargs", check.check_kwargs, "Keyword arguments", Kind.JSON, Group.CALL, "A JSON object"),
    Policy("timezone", check.optional(check.check_zone), "Time zone", Kind.TEXT, Group.WHEN),
    Policy("start_at", check.optional(check.check_bound), "Not before", Kind.INSTANT, Group.WHEN),
    Policy("end_at", check.optional(check.check_bound), "Not after", Kind.INSTANT, Group.WHEN),
    Policy("jitter", check.seconds(), "Jitter", Kind.NUMBER, Group.WHEN, _SECONDS),
    Policy("calendars", check.check_names, "Calendars", Kind.NAMES, Group.WHEN, _PARTED),
    _choice("misfire", Misfire, "Misfire", Group.LATE),
    Policy("misfire_grace", check.seconds(), "Misfire grace", Kind.NUMBER, Group.LATE, _SECONDS),
    Policy("catch_up_limit", check.whole_number(1, 1_000_000), "Catch-up limit", Kind.NUMBER, Group.LATE),
    _choice("overlap", Overlap, "Overlap", Group.LATE),
    _choice("delivery", Delivery, "Delivery", Group.LATE),
    Policy(
        "timeout", check.optional(check.seconds(0.001)), "Timeout", Kind.NUMBER, Group.FAILED, "Seconds; empty: none"
    ),
    Policy("retry_delay", check.seconds(), "Retry delay", Kind.NUMBER, Group.FAILED, "Seconds, growing"),
    Policy("retry_max_delay", check.seconds(), "Longest retry delay", Kind.NUMBER, Group.FAILED, _SECONDS),
    Policy(
        "disable_after",
        check.optional(check.whole_number(1, 1_000_000)),
        "Disable after",
        Kind.NUMBER,
        Group.FAILED,
        "Failed runs in a row; empty: never",
    ),
    Policy("executor", check.check_name, "Executor", Kind.TEXT),
    Policy("concurrency_key", check.optional(check.check_name), "Concurrency key", Kind.TEXT, Group.LATE),
    Policy(
        "concurrency_limit",
        check.optional(check.whole_number(1, 1_000_000)),
        "Concurrency limit",
        Kind.NUMBER,
        Group.LATE,
        "Runs at once of all jobs with the key; empty: no limit",
    ),
    Policy(
        "rate_limit",
        check.optional(check_rate),
        "Rate limit",
        Kind.TEXT,
        Group.LATE,
        "As 100/minute, of all jobs with the key; empty: no limit",
    ),
    Policy("priority", check.whole_number(0, 9), "Priority", Kind.NUMBER, Group.LATE, "0 first, 9 last"),
    Policy("tags", check.check_names, "Tags", Kind.NAMES, Group.WHEN, _PARTED),
    _choice("dst", Dst, "At clock changes", Group.WHEN),
)
"""In the order of `ScheduleJob`."""

POLICY: Mapping[str, Policy] = {policy.name: policy for policy in POLICIES}
