"""Jobs: what a definition may be, what is stored of it, and what the errors say."""

from __future__ import annotations

import copy
import functools
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_core.domain.errors import InvalidJobError, InvalidScheduleError
from scheduler_core.domain.jobs import rows as job_rows
from scheduler_core.domain.jobs.checks import CHECKS, POSITIONAL
from scheduler_core.domain.jobs.job import (
    POLICY_DEFAULTS,
    Delivery,
    JobDefinition,
    Misfire,
    Overlap,
    ScheduleJob,
    callback_reference,
    is_importable_reference,
    shared_json,
)
from scheduler_core.domain.jobs.job_policies import POLICY
from scheduler_core.domain.jobs.rows import read_definition, read_definition_and_schedule
from scheduler_core.domain.planning.next_fires import next_fires
from scheduler_core.domain.schedule import Dst, ScheduleType

NOW = datetime(2026, 11, 23, tzinfo=UTC)


async def report(*args: object, **options: object) -> None: ...


class Reports:
    def send(self) -> None: ...

    def __call__(self) -> None: ...

    @classmethod
    def create(cls) -> None: ...

    @staticmethod
    def clean() -> None: ...


class DailyReports(Reports): ...


def make(**given: Any) -> ScheduleJob:
    base = {"job_id": "a", "name": "A", "schedule_type": "interval", "schedule_value": 30, "callback": report}
    return ScheduleJob(**{**base, **given})


def test_positional_arguments_are_those_of_the_reference_document() -> None:
    job = ScheduleJob(
        "a", "주기적 작업", ScheduleType.INTERVAL, 30, report, False, True, "key", 1800, None, None, 4, 2, 7
    )  # fmt: skip
    assert {name: getattr(job, name) for name in POSITIONAL} == {
        "job_id": "a", "name": "주기적 작업", "schedule_type": "interval", "schedule_value": 30,
        "callback": report,
        "enabled": False, "use_distributed_lock": True, "lock_key": "key", "lock_ttl": 1800,
        "last_run": None, "next_run": None, "run_count": 4, "error_count": 2, "max_retries": 7,
    }  # fmt: skip


def test_defaults() -> None:
    job = make()
    assert (job.enabled, job.use_distributed_lock, job.lock_key, job.lock_ttl, job.max_retries) == (
        True, False, None, 300, 3,
    )  # fmt: skip
    assert (job.args, job.kwargs, job.calendars, job.tags, job.timezone) == ((), {}, (), (), None)
    assert (job.misfire, job.overlap, job.delivery, job.dst) == ("latest", "skip", "at_least_once", "once")
    assert (job.misfire_grace, job.catch_up_limit, job.retry_delay, job.retry_max_delay) == (10, 100, 1, 60)
    assert (job.jitter, job.timeout, job.disable_after, job.executor) == (0, None, None, "local")
    job.kwargs["x"] = 1
    assert make().kwargs == {}


def test_values_are_read_kindly() -> None:
    job = make(
        schedule_type="Cron",
        schedule_value="@daily",
        misfire="ALL",
        overlap=Overlap.QUEUE,
        delivery="At_Most_Once",
        dst="both",
        timeout=timedelta(minutes=5),
        lock_ttl=timedelta(minutes=1),
        timezone=ZoneInfo("Asia/Seoul"),
        start_at="2026-01-01",
        tags=["x", "y", "x"],
        args=[1, (2, 3)],
    )
    assert (job.schedule_type, job.misfire, job.delivery) == (
        ScheduleType.CRON,
        Misfire.ALL,
        Delivery.AT_MOST_ONCE,
    )
    assert (job.dst, job.timeout, job.lock_ttl) == (Dst.BOTH, 300.0, 60.0)
    assert (job.timezone, job.tags, job.args) == ("Asia/Seoul", ("x", "y"), (1, [2, 3]))
    assert job.start_at == datetime(2026, 1, 1)  # noqa: DTZ001 - naive until the zone is known


NESTED: list[Any] = []
for _ in range(100):
    NESTED = [NESTED]
WIDE: list[Any] = []
for _ in range(45):
    WIDE = [WIDE, WIDE]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jiter": 1}, "no such field .did you mean 'jitter'"),
        ({"job_id": ""}, "has 0 characters, give 1 to 200"),
        ({"job_id": "x" * 201}, "has 201 characters"),
        ({"job_id": " a"}, "no space at either end"),
        ({"job_id": "a\n"}, "control characters"),
        ({"job_id": "a\u200bb"}, "give printable characters"),
        ({"job_id": 5}, "job_id: can't be 5, give a string"),
        ({"name": "a\x00"}, "control characters"),
        ({"name": "\ud800"}, "lone surrogates"),
        ({"schedule_type": "dayly"}, "did you mean 'daily'"),
        ({"schedule_type": None}, "give one of interval, daily, once, cron"),
        ({"schedule_value": "x"}, "An interval can't be 'x'"),
        ({"schedule_type": "cron", "schedule_value": "0 0 31 2 *"}, "no year has"),
        ({"schedule_type": "daily", "schedule_value": "25:61"}, "can't be '25:61'"),
        ({"schedule_type": "once", "schedule_value": "soon"}, "can't be 'soon'"),
        ({"callback": 3}, "3 can't be called"),
        ({"callback": "report"}, "module:qualname"),
        ({"callback": "app:<lambda>"}, "module:qualname"),
        ({"callback": "a:b" + "b" * 500}, "at most 500"),
        ({"enabled": "yes"}, "give True or False"),
        ({"enabled": 1}, "give True or False"),
        ({"lock_ttl": 0}, "from 0.001"),
        ({"lock_ttl": 10**400}, "give seconds"),
        ({"lock_ttl": float("nan")}, "give seconds"),
        ({"lock_ttl": True}, "give seconds"),
        ({"lock_key": ""}, "1 to 200"),
        ({"max_retries": -1}, "from 0 to 1000"),
        ({"max_retries": 1001}, "from 0 to 1000"),
        ({"max_retries": 1.5}, "whole number"),
        ({"max_retries": True}, "whole number"),
        ({"run_count": 2**63}, "whole number"),
        ({"args": "abc"}, "give a list"),
        ({"args": [float("inf")]}, "JSON doesn't know"),
        ({"args": ["\x00"]}, "Postgres refuses"),
        ({"args": [object()]}, "of type object"),
        ({"args": [10**5000]}, "can't be written as JSON"),
        ({"args": NESTED}, "levels deep"),
        ({"args": WIDE}, "levels deep"),
        ({"args": ["x" * 300_000]}, "at most 262144"),
        ({"kwargs": {1: 2}}, "the key 1"),
        ({"kwargs": {"\ud800": 2}}, "the key"),
        ({"kwargs": [1]}, "give a dict"),
        ({"timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"timezone": 5}, "IANA name"),
        ({"start_at": "2026-02-01", "end_at": "2026-01-01"}, "is not before"),
        ({"start_at": "2026-01-01", "end_at": "2026-01-01"}, "is not before"),
        ({"start_at": "x"}, "ISO string"),
        ({"end_at": datetime.max.replace(tzinfo=UTC)}, "years 1900 to 8999"),
        ({"jitter": -1}, "from 0"),
        ({"jitter": 30}, "not less than the interval of 30"),
        ({"retry_delay": 61}, "retry_max_delay: 60 seconds is less than retry_delay, 61"),
        ({"misfire": "never"}, "give one of latest, all, skip"),
        ({"overlap": "alow"}, "did you mean 'allow'"),
        ({"catch_up_limit": 0}, "from 1"),
        ({"timeout": 0}, "from 0.001"),
        ({"timeout": timedelta(days=4000)}, "to 315532800"),
        ({"disable_after": 0}, "from 1"),
        ({"tags": "x"}, "give a list of names"),
        ({"tags": [""]}, "1 to 200"),
        ({"calendars": ["x"] * 101}, "at most 100"),
        ({"executor": None}, "give a string"),
    ],
)
def test_refused_with_one_line_that_helps(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidJobError, match=message) as caught:
        make(**given)
    text = str(caught.value)
    assert "\n" not in text
    text.encode()


def test_every_problem_is_listed() -> None:
    with pytest.raises(InvalidJobError) as caught:
        make(job_id="", schedule_value=0, timeout="x", jiter=1)
    text = str(caught.value)
    assert all(f"{name}: " in text for name in ("job_id", "schedule_value", "timeout", "'jiter'"))


def test_a_wrong_schedule_alone_is_an_invalid_schedule() -> None:
    with pytest.raises(InvalidScheduleError):
        make(schedule_value=0)
    with pytest.raises(InvalidJobError) as caught:
        make(schedule_value=0, name="")
    assert not isinstance(caught.value, InvalidScheduleError)


def test_calls_with_wrong_arguments() -> None:
    with pytest.raises(InvalidJobError, match="lacks schedule_value, callback"):
        ScheduleJob("a", "A", "interval")  # type: ignore[call-arg]
    with pytest.raises(InvalidJobError, match="14 positional arguments and got 15"):
        ScheduleJob(*range(15))
    with pytest.raises(InvalidJobError, match="name was given twice"):
        ScheduleJob("a", "A", "interval", 30, report, name="B")  # type: ignore[misc]


def test_assignment_is_checked_with_the_relations() -> None:
    job = make()
    job.schedule_value = 60
    job.jitter = timedelta(seconds=40)  # type: ignore[assignment]
    assert job.jitter == 40.0
    with pytest.raises(InvalidJobError, match="not less than the interval"):
        job.schedule_value = 30
    with pytest.raises(InvalidJobError, match="did you mean 'jitter'"):
        job.jiter = 1  # type: ignore[attr-defined]
    assert job.schedule_value == 60


def test_jobs_can_be_copied_and_dumped() -> None:
    job = make(kwargs={"x": [1]}, timezone="UTC")
    assert copy.deepcopy(job) == job
    assert ScheduleJob.model_validate(job.model_dump()) == job
    payload = {"x": [1]}
    job = make(kwargs=payload)
    payload["x"].append(2)
    assert job.kwargs == {"x": [1]}


# --- definitions


def test_definition_is_canonical() -> None:
    job = make(
        schedule_type="daily",
        schedule_value=["9:30", "09:30"],
        start_at="2026-01-01",
        callback="app.jobs:send",
    )
    definition = job.definition("Asia/Seoul")
    assert (definition.schedule_value, definition.timezone) == (["09:30:00"], "Asia/Seoul")
    assert definition.start_at == datetime(2025, 12, 31, 15, tzinfo=UTC)
    assert definition.callback == "app.jobs:send"
    assert definition.schedule(NOW).next_after(NOW) == datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
    assert {item.name for item in fields(JobDefinition)} == set(CHECKS) - {
        "last_run", "next_run", "run_count", "error_count",
    }  # fmt: skip


def test_the_same_job_has_the_same_digest() -> None:
    one = make(schedule_value=30, timeout=60, kwargs={"a": 1, "b": 2}, tags=["x"]).definition("UTC")
    same = make(schedule_value="30.0", timeout=timedelta(minutes=1), kwargs={"b": 2, "a": 1}, tags={"x"})
    assert same.definition("UTC") == one
    assert same.definition("UTC").digest == one.digest
    assert len(one.digest) == 64


OTHERS: dict[str, Any] = {
    "job_id": "other", "name": "Other", "schedule_type": ScheduleType.CRON, "schedule_value": "* * * * *",
    "timezone": "Asia/Seoul", "start_at": NOW, "end_at": NOW, "dst": Dst.BOTH, "jitter": 1.0, "calendars": ("c",),
    "callback": "app:other", "args": (1,), "kwargs": {"a": 1}, "enabled": False, "misfire": Misfire.ALL,
    "misfire_grace": 1.0, "catch_up_limit": 1, "overlap": Overlap.ALLOW, "delivery": Delivery.AT_MOST_ONCE,
    "timeout": 1.0, "max_retries": 1, "retry_delay": 2.0, "retry_max_delay": 2.0, "disable_after": 1,
    "executor": "other", "concurrency_key": "c", "concurrency_limit": 2, "rate_limit": "1/second",
    "priority": 1, "tags": ("t",), "use_distributed_lock": True, "lock_key": "k", "lock_ttl": 1.0,
}  # fmt: skip


def test_the_digest_is_of_every_field() -> None:
    assert OTHERS.keys() == {item.name for item in fields(JobDefinition)}
    one = make().definition("UTC")
    digests = {replace(one, **{name: value}).digest for name, value in OTHERS.items()}
    assert len(digests | {one.digest}) == len(OTHERS) + 1


def test_equal_definitions_have_equal_digests_whichever_came_first() -> None:
    """What jobs share is written once and kept, and -0.0 equals 0.0."""
    assert make(misfire_grace=-0.0).definition("UTC").digest == make(misfire_grace=0.0).definition("UTC").digest
    shared_json.cache_clear()
    assert make(misfire_grace=0.0).definition("UTC").digest == make(misfire_grace=-0.0).definition("UTC").digest
    assert '"misfire_grace":0.0' in shared_json(make(misfire_grace=-0.0).definition("UTC").shared)


def test_schedule_digest_changes_with_the_instants_only() -> None:
    daily = make(schedule_type="daily", schedule_value="9:30", timezone="UTC").definition("UTC")
    for name, value in {
        "name": "B",
        "enabled": False,
        "jitter": 3.0,
        "misfire": Misfire.ALL,
        "tags": ("x",),
    }.items():
        changed = replace(daily, **{name: value})
        assert changed.schedule_digest == daily.schedule_digest
        assert changed.digest != daily.digest
    for name, value in {
        "schedule_value": ["09:31:00"], "timezone": "Asia/Seoul", "dst": Dst.SKIP,
        "start_at": NOW, "calendars": ("x",),
    }.items():  # fmt: skip
        assert replace(daily, **{name: value}).schedule_digest != daily.schedule_digest
    interval = make().definition("UTC")
    assert replace(interval, timezone="Asia/Seoul").schedule_digest == interval.schedule_digest


def test_definition_checks_bounds_once_the_zone_is_known() -> None:
    bounds = {"start_at": "2026-03-01T10:00", "end_at": "2026-03-01T12:00"}
    job = make(schedule_type="daily", schedule_value="14:30", **bounds)
    with pytest.raises(InvalidScheduleError, match="never fire"):
        job.definition("UTC")
    with pytest.raises(InvalidScheduleError, match="never fire"):
        make(schedule_type="daily", schedule_value="14:30", timezone="UTC", **bounds)


def test_a_document_from_before_a_policy_existed_has_its_default() -> None:
    """Else no version of the log of changes could be read any more once a release brings a policy."""
    definition = make(callback=lambda: None, tags=["x"]).definition("UTC")
    columns: dict[str, Any] = {item.name: getattr(definition, item.name) for item in fields(definition)}
    for name in POLICY:
        if name != "timezone":
            read = read_definition({k: v for k, v in columns.items() if k != name})
            assert getattr(read, name) == ScheduleJob.model_fields[name].get_default(call_default_factory=True)
            assert replace(read, **{name: columns[name]}) == definition


def test_a_definition_is_read_from_its_columns() -> None:
    definition = make(callback=lambda a: None, timeout=5, tags=["x"], kwargs={"a": [1]}).definition("UTC")
    columns: dict[str, Any] = {item.name: getattr(definition, item.name) for item in fields(definition)}
    columns |= {"tags": ["x"], "args": [], "misfire": "latest", "schedule_type": "interval"}
    assert read_definition(columns) == definition
    with pytest.raises(InvalidJobError, match="lacks callback"):
        read_definition({k: v for k, v in columns.items() if k != "callback"})
    with pytest.raises(InvalidJobError, match="misfire: can't be 'x'"):
        read_definition({**columns, "misfire": "x"})
    with pytest.raises(InvalidJobError, match="without a timezone"):
        read_definition({**columns, "timezone": None})


def columns_of(definition: JobDefinition) -> dict[str, Any]:
    """As a row holds them: what Python has tuples for comes as lists."""
    columns = {item.name: getattr(definition, item.name) for item in fields(definition)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in columns.items()}


ROWS = [
    columns_of(make(callback="app:work", **given).definition("UTC"))
    for given in (
        {"timeout": 5, "tags": ["x"], "kwargs": {"a": [1, 1e22, -0.0]}, "jitter": 1},
        {"start_at": NOW, "end_at": NOW + timedelta(days=1), "max_retries": 1, "disable_after": 1},
        {"schedule_type": "once", "schedule_value": NOW, "calendars": ["x", "y"], "lock_key": "k"},
        {"schedule_type": "once", "schedule_value": None, "timezone": "Asia/Seoul"},
        {"schedule_type": "daily", "schedule_value": ["9:30", "8:15"], "timezone": "Europe/Berlin", "dst": "both"},
        {"schedule_type": "cron", "schedule_value": "*/5 * * * *", "end_at": NOW},
    )
]


def read(columns: dict[str, Any]) -> str:
    """What is made of a row, values with their types, or what is wrong with it."""
    try:
        return repr(read_definition_and_schedule(columns, NOW))
    except InvalidJobError as error:
        return repr(error)


def read_whole(columns: dict[str, Any]) -> str:
    """The same, with nothing that was seen before and no short way."""
    try:
        definition = job_rows._check_row(columns)
        return repr((definition, definition.schedule(NOW)))
    except InvalidJobError as error:
        return repr(error)


@pytest.mark.parametrize("row", ROWS)
def test_what_is_known_of_a_good_row_lets_no_bad_one_through(row: dict[str, Any]) -> None:
    job_rows._check_shared.cache_clear()
    assert read(row) == read(dict(row)) == read_whole(row)
    assert job_rows._check_shared.cache_info().hits == 1
    kind = row["schedule_type"]
    bad: list[dict[str, Any]] = [
        # What is the job's own.
        *({"job_id": bad} for bad in ("", " x", "a\x00", "a\ud800", "x" * 201, 1)),
        *({"name": bad} for bad in ("", "a\nb", "a\x7f", "x" * 201, None)),
        *({"args": bad} for bad in ({}, None, ["\ud800"], [float("nan")])),
        *({"kwargs": bad} for bad in ([], None, {1: 2}, {"\x00": 2})),
        *({"start_at": bad} for bad in ("x", NOW.replace(year=1899), 5)),
        *({"end_at": bad} for bad in ("x", NOW.replace(year=9000), True)),
        {"start_at": NOW, "end_at": NOW},
        {"schedule_value": "garbage" if kind != "cron" else "0 0 30 2 *"},
        # What equals something that is right, and what only another column makes wrong.
        *({name: int(row[name])} for name in ("enabled", "use_distributed_lock")),
        *({name: float(row[name])} for name in ("catch_up_limit", "max_retries")),
        {"jitter": False},
        {"retry_max_delay": row["retry_delay"] / 2},
        {"timezone": None},
        {"schedule_type": "cron" if kind != "cron" else "daily"},
        *([{"jitter": 30.0}, {"schedule_value": 1, "jitter": 1.0}] if kind == "interval" else []),
        *([{"end_at": NOW - timedelta(days=1)}] if row["schedule_value"] and kind == "once" else []),
        *([{"max_retries": True}, {"disable_after": True}] if row["max_retries"] == 1 else []),
    ]
    for edit in bad:
        edited = {**row, **edit}
        assert "Error(" in read(edited), edit
        assert read(edited) == read_whole(edited)
        assert read(row) == read_whole(row)


@given(
    st.sampled_from(ROWS),
    st.dictionaries(
        st.sampled_from([item.name for item in fields(JobDefinition)]),
        st.deferred(lambda: ANYTHING) | st.sampled_from([v for row in ROWS for v in row.values()]),
        max_size=2,
    ),
)
@settings(max_examples=400, deadline=None)
def test_a_row_is_read_the_same_whatever_was_read_before(row: dict[str, Any], edit: dict[str, Any]) -> None:
    read(row)
    edited = {**row, **edit}
    assert read(edited) == read(edited) == read_whole(edited)


def test_a_row_that_lacks_columns_or_holds_lists_where_none_belong() -> None:
    for name in ROWS[0]:
        lacking = {key: value for key, value in ROWS[0].items() if key != name}
        assert read(lacking) == read_whole(lacking)
        if name == "timezone":
            assert "without a timezone" in read(lacking)
        elif name in POLICY_DEFAULTS:
            assert read(lacking) == read({**ROWS[0], name: POLICY_DEFAULTS[name]})
        else:
            assert f"lacks {name}" in read(lacking)
        listed = {**ROWS[0], name: [["x"]]}
        assert read(listed) == read_whole(listed)


# --- callbacks


def test_callback_references() -> None:
    here = __name__
    reports = Reports()
    cases: dict[str, Any] = {
        "report": report,
        "Reports": Reports,
        "Reports.clean": Reports.clean,
        "Reports.create": Reports.create,
        "DailyReports.create": DailyReports.create,
        "Reports.send": Reports.send,
    }
    for name, callback in cases.items():
        assert callback_reference(callback) == f"{here}:{name}"
        assert is_importable_reference(callback_reference(callback))
    bound_to_the_process: dict[str, Any] = {
        "test_callback_references.<locals>.<lambda>": lambda: None,
        "<partial>.report": functools.partial(report),
        "<bound>.Reports.send": reports.send,
        "<instance>.Reports": reports,
    }
    for name, callback in bound_to_the_process.items():
        assert callback_reference(callback) == f"{here}:{name}"
        assert not is_importable_reference(callback_reference(callback))
    assert callback_reference(print) == "builtins:print"
    assert callback_reference([].append) == "builtins:<bound>.list.append"
    with pytest.raises(InvalidJobError, match="can't be called"):
        callback_reference(3)  # type: ignore[arg-type]


# --- next_fires


def test_next_fires() -> None:
    assert next_fires(make(), NOW, 2) == [NOW + timedelta(seconds=30), NOW + timedelta(seconds=60)]
    daily = make(schedule_type="daily", schedule_value="9:30")
    assert next_fires(daily, NOW, 1, default_timezone="Asia/Seoul") == [datetime(2026, 11, 23, 0, 30, tzinfo=UTC)]
    assert next_fires(daily, NOW, 1) == [datetime(2026, 11, 23, 9, 30, tzinfo=UTC)]
    assert next_fires(daily, NOW, 0) == []
    assert next_fires(make(end_at=NOW), NOW, 5) == []
    assert next_fires(make(schedule_type="once", schedule_value=None), NOW, 5) == [NOW]
    assert next_fires(make(schedule_type="once", schedule_value=NOW), NOW, 5) == []


@pytest.mark.parametrize(
    ("after", "count"),
    [
        (datetime(2026, 1, 1), 1),  # noqa: DTZ001 - naive is the point
        ("x", 1),
        (NOW, -1),
        (NOW, True),
        (NOW, 100_001),
        (NOW, "1"),
    ],
)
def test_next_fires_refuses(after: Any, count: Any) -> None:
    with pytest.raises(InvalidScheduleError, match="can't be"):
        next_fires(make(), after, count)


# --- anything at all

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes()
    | st.timedeltas() | st.sampled_from([10**4000, -(10**400), "\ud800", "\x00", object(), print]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*CHECKS, "no_such"]), ANYTHING, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_anything_is_a_job_or_one_clear_error(given: dict[str, Any]) -> None:
    try:
        definition = make(**given).definition("UTC")
    except InvalidJobError as error:
        message = str(error)
    else:
        message = ""
        check_round_trip(definition)
    assert "\n" not in message
    message.encode()


def check_round_trip(definition: JobDefinition) -> None:
    assert len(definition.digest) == 64
    columns = {item.name: getattr(definition, item.name) for item in fields(definition)}
    assert read_definition(columns) == definition
