"""What type checkers, editors and `help()` read of a job's fields is what there is: nowhere may it drift."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from datetime import datetime, time, timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import pytest

import scheduler_core
from scheduler_core import Delivery, Dst, InvalidJobError, Misfire, Overlap, ScheduleJob, ScheduleType, job
from scheduler_core.domain.jobs.checks import POSITIONAL, REQUIRED
from scheduler_core.domain.jobs.job import STATE_FIELDS
from scheduler_core.jobs_file.fields import SCHEDULES
from scheduler_core.service import declared_jobs

FIELDS = ScheduleJob.model_fields
OF_JOB = inspect.signature(job).parameters
OF_THE_CLASS = inspect.signature(ScheduleJob).parameters


def anything(*args: Any, **kwargs: Any) -> None:
    """A callback that takes whatever a job of a test hands it."""


BASE: dict[str, Any] = {
    "job_id": "j",
    "name": "J",
    "schedule_type": "daily",
    "schedule_value": "14:30",
    "callback": anything,
}


def _kinds(name: str) -> tuple[Any, ...]:
    """The types that a field may have, as its annotation has them."""
    hint = get_type_hints(ScheduleJob.__init__)[name]
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


EXAMPLES: dict[Any, Any] = {
    bool: True,
    int: 2,
    float: 2.5,
    timedelta: timedelta(seconds=20),
    datetime: datetime(2027, 1, 1),  # noqa: DTZ001 - in the job's zone
    ZoneInfo: ZoneInfo("Asia/Seoul"),
    Any: anything,
    type(None): None,
    list[Any]: [1, "a"],
    tuple[Any, ...]: (1, "a"),
    dict[str, Any]: {"a": 1},
    list[str]: ["09:00", "14:30"],
    list[time]: [time(9)],
    tuple[str, ...]: ("a", "b"),
    tuple[str | time, ...]: ("09:00", time(14, 30)),
    set[str]: {"09:00"},
    frozenset[str]: frozenset({"09:00"}),
    time: time(14, 30),
    Callable[..., Any]: anything,
    ScheduleType: ScheduleType.DAILY,
    Misfire: Misfire.ALL,
    Overlap: Overlap.QUEUE,
    Delivery: Delivery.AT_MOST_ONCE,
    Dst: Dst.BOTH,
}
"""One value of each type that stands in the signature."""

STRINGS = {
    "job_id": "a",
    "name": "A job",
    "schedule_type": "DAILY",
    "schedule_value": "09:00",
    "callback": "app:work",
    "lock_key": "k",
    "timezone": "Europe/Berlin",
    "start_at": "2027-01-01T00:00",
    "end_at": "2027-01-01T00:00",
    "misfire": "all",
    "overlap": "queue",
    "delivery": "at_most_once",
    "executor": "process",
    "concurrency_key": "c",
    "rate_limit": "100/minute",
    "dst": "skip",
}


def test_the_signature_has_every_field_as_the_model_has_it() -> None:
    assert list(OF_THE_CLASS) == list(FIELDS)
    assert list(inspect.signature(ScheduleJob.__init__).parameters) == ["self", *FIELDS]
    for name, field in FIELDS.items():
        given = OF_THE_CLASS[name].default
        expected = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
        assert given == expected, name
    by_position = [n for n, p in OF_THE_CLASS.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert tuple(by_position) == POSITIONAL
    assert tuple(n for n, p in OF_THE_CLASS.items() if p.default is inspect.Parameter.empty) == REQUIRED


def test_the_decorator_has_every_field_that_is_no_state() -> None:
    of_the_schedule = {"schedule_type", "schedule_value", "callback"}
    policies = [name for name in FIELDS if name not in {*of_the_schedule, *STATE_FIELDS, "job_id", "name"}]
    assert list(OF_JOB) == ["job_id", *SCHEDULES, "name", *policies]
    hints, of_the_class = get_type_hints(job), get_type_hints(ScheduleJob.__init__)
    for name in policies:
        assert (OF_JOB[name].default, hints[name]) == (OF_THE_CLASS[name].default, of_the_class[name]), name


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in FIELDS if name not in STATE_FIELDS for kind in _kinds(name)]
)
def test_what_the_signature_allows_is_accepted(name: str, kind: Any) -> None:
    """A type checker that nods at what is refused at run time is worse than none."""
    example = STRINGS[name] if kind is str else EXAMPLES[kind]
    given = {name: example} | ({"schedule_type": _type_that_takes(example)} if name == "schedule_value" else {})
    ScheduleJob(**(BASE | given))


def _type_that_takes(value: Any) -> str:
    if value is None or isinstance(value, datetime):
        return "once"
    return "interval" if isinstance(value, int | float | timedelta) else "daily"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"every": 30, "retries": 3}, "did you mean 'max_retries'"),
        ({"every": 30, "run_count": 3}, "keeps it itself"),
        ({"every": 30, "schedule_type": "cron"}, "every="),
        ({"every": 30, "callback": anything}, "the function below"),
        ({}, "exactly one"),
        ({"every": 30, "once": None}, "has 2"),
        ({"every": 30, "overlap": "sometimes"}, "skip, allow, queue"),
    ],
)
def test_what_the_decorator_refuses_it_names(words: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidJobError, match=problem):
        job("refused", **words)(anything)
    assert "refused" not in {declared.job_id for declared in declared_jobs()}


def test_the_decorator_takes_its_id_by_name_as_its_signature_says() -> None:
    assert OF_JOB["job_id"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    job(job_id="by name", every=60)(anything)
    assert "by name" in {declared.job_id for declared in declared_jobs()}


def test_the_function_stays_as_it_is() -> None:
    def work() -> int:
        return 1

    assert job("stays", every=30)(work) is work


def test_every_public_name_is_known_to_type_checkers() -> None:
    """Names resolve on first use; a checker, which runs nothing, reads the imports."""
    tree = ast.parse(Path(scheduler_core.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and node.body
    ]
    imported = {
        alias.name: (node.module or "").removeprefix("scheduler_core.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == scheduler_core._PUBLIC
    assert scheduler_core.__all__ == sorted(scheduler_core._PUBLIC)
