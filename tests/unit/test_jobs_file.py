"""Jobs in a file: what is written is read back exactly, and whatever else stands in a file is one clear line."""

from __future__ import annotations

import itertools
import os
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_core import InvalidJobError, ScheduleJob, load_jobs
from scheduler_core.domain.jobs.job import POLICY_DEFAULTS, JobDefinition
from scheduler_core.jobs_file.difference import compare, undeclared
from scheduler_core.jobs_file.fields import FIELDS
from scheduler_core.jobs_file.reading import MOST_BYTES, define, parse_jobs
from scheduler_core.jobs_file.writing import dump_jobs, table_of

ZONE = "Europe/Berlin"


def definition(job_id: str = "a", **fields: Any) -> JobDefinition:
    base: dict[str, Any] = {
        "name": job_id,
        "schedule_type": "interval",
        "schedule_value": 30,
        "callback": "app.jobs:work",
    }
    return ScheduleJob(job_id=job_id, **(base | fields)).definition(ZONE)


def read(text: str, zone: str = "UTC") -> list[JobDefinition]:
    return define(parse_jobs(text.encode(), "jobs.toml"), zone, "jobs.toml")


def outcome(content: bytes) -> list[ScheduleJob]:
    """The jobs, or none after an error, which must be one line."""
    try:
        return parse_jobs(content, "jobs.toml")
    except InvalidJobError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
    return []


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidJobError) as caught:
        parse_jobs(text if isinstance(text, bytes) else text.encode(), "jobs.toml")
    assert len(str(caught.value).splitlines()) == 1
    assert "jobs.toml" in str(caught.value)
    return str(caught.value)


EVERY_FIELD: dict[str, Any] = {
    "name": '名前 with a \\ and "quotes"',
    "schedule_type": "cron",
    "schedule_value": "30 14 * * 1-5",
    "callback": "app.jobs:Reports.send",
    "enabled": False,
    "use_distributed_lock": True,
    "lock_key": "report:{day}",
    "lock_ttl": 0.5,
    "max_retries": 0,
    "args": [1, "two", [3.0, {"four": [True]}]],
    "kwargs": {"a": {"b": {"c": [1, 2]}}, "è.x": 1e-7, "": 0},
    "timezone": "Asia/Kathmandu",
    "start_at": datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC),
    "end_at": datetime(2036, 1, 1),  # noqa: DTZ001 - a wall time
    "jitter": timedelta(seconds=1.5),
    "calendars": ["holidays", "Büro"],
    "misfire": "all",
    "misfire_grace": 0,
    "catch_up_limit": 7,
    "overlap": "queue",
    "delivery": "at_most_once",
    "timeout": 3600,
    "retry_delay": 0.25,
    "retry_max_delay": 86400.125,
    "disable_after": 5,
    "executor": "reports",
    "concurrency_key": "partner",
    "concurrency_limit": 3,
    "rate_limit": "100/minute",
    "priority": 0,
    "tags": ["x", "'y'"],
    "dst": "both",
}


def test_every_field_comes_back() -> None:
    whole = definition("a", **EVERY_FIELD)
    written = table_of(whole)
    assert set(written) == set(FIELDS) - {"every", "daily", "once"}, "a new field of a job must get here too"
    text = dump_jobs([whole])
    assert read(text) == [whole]
    assert dump_jobs(read(text)) == text


def test_defaults_are_left_out() -> None:
    assert table_of(definition()) == {"every": 30, "callback": "app.jobs:work", "timezone": ZONE}
    assert set(POLICY_DEFAULTS) | {"name", "every", "daily", "cron", "once", "callback"} == set(FIELDS)


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        ("interval", 30, {"every": 30}),
        ("interval", 0.001, {"every": 0.001}),
        ("interval", timedelta(days=3652), {"every": 3652 * 86400}),
        ("daily", "14:30", {"daily": "14:30"}),
        ("daily", ["23:59:59", "00:00"], {"daily": ["00:00", "23:59:59"]}),
        ("cron", "@hourly", {"cron": "@hourly"}),
        ("cron", "*/5 0 0 1 1 *", {"cron": "*/5 0 0 1 1 *"}),
        ("once", None, {"once": "now"}),
        ("once", "1900-01-01T12:00:00+05:30", {"once": datetime(1900, 1, 1, 6, 30, tzinfo=UTC)}),
        ("once", "8999-12-31T00:00:00.000001Z", {"once": datetime(8999, 12, 31, 0, 0, 0, 1, tzinfo=UTC)}),
    ],
)
def test_every_schedule_comes_back(kind: str, value: Any, written: dict[str, Any]) -> None:
    one = definition(schedule_type=kind, schedule_value=value)
    assert table_of(one) == {**written, "callback": "app.jobs:work", "timezone": ZONE}
    assert read(dump_jobs([one])) == [one]


@pytest.mark.parametrize(
    "value",
    [None, [None], {"a": {"b": None}}, 2**63, -(2**63) - 1, 2**63 - 1, -(2**63), 1e22, -0.0, 5e-324, "\x01\x7f\r\n\t"],
)
def test_what_toml_can_not_say_comes_back_too(value: Any) -> None:
    one = definition(args=[value], kwargs={"k": value})
    assert [d.digest for d in read(dump_jobs([one]))] == [one.digest]


printable = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=200)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=5), inner,
                      max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(
    st.dictionaries(
        printable,
        st.fixed_dictionaries(
            {
                "name": printable,
                "args": st.lists(json_values, max_size=3),
                "kwargs": st.dictionaries(
                    st.text(st.characters(codec="utf-8", exclude_characters="\x00")), json_values
                ),
                "tags": st.lists(printable, max_size=3),
                "timeout": st.none() | st.floats(0.001, 1e8),
                "retry_delay": st.floats(0, 60),
                "start_at": st.none() | st.datetimes(datetime(1901, 1, 1), datetime(8998, 1, 1), timezones=st.none()),  # noqa: DTZ001
                "timezone": st.sampled_from(["UTC", "Australia/Lord_Howe", "Africa/Casablanca"]),
            }
        ),
        max_size=3,
    )
)
@settings(deadline=None)
def test_any_jobs_come_back(jobs: dict[str, dict[str, Any]]) -> None:
    before = [definition(job_id, **fields) for job_id, fields in jobs.items()]
    text = dump_jobs(before)
    after = read(text, "America/New_York")
    assert sorted(d.digest for d in after) == sorted(d.digest for d in before)
    assert dump_jobs(reversed(after)) == text
    assert not compare({d.job_id: d for d in before}, after)


def test_a_callback_that_no_file_can_name_is_left_out_with_a_comment() -> None:
    local = definition("local", callback=lambda: None)
    text = dump_jobs([local, definition()])
    assert [d.job_id for d in read(text)] == ["a"]
    assert "# Left out: the job 'local'" in text
    stored = {"local": local, "other": definition("other")}
    assert undeclared(stored, ["x"], source="f", by_file_alone=True) == {"other"}
    assert undeclared(stored, ["x"], source="f", by_file_alone=False) == {"local", "other"}


def test_values_of_toml_are_read_kindly() -> None:
    a, b, c, d = read(
        '\ufeff[jobs.a]\ndaily = 07:30:00\ncallback = "m:f"\n'
        '[jobs]\nb.once = 2027-01-01\nb.callback = "m:f"\nb.timezone = "Asia/Seoul"\n'
        '[jobs."c.d"]\nevery = "30"\ncallback = "m:f"\nstart_at = 2027-01-01T00:00:00\n'
        '[jobs.d]\ncron = "@daily"\ncallback = "m:f"\nkwargs = \'{"a": null}\'\noverlap = "Queue"\n'
    )
    assert a.schedule_value == ["07:30:00"]
    assert (b.schedule_value, c.job_id, c.schedule_value) == ("2026-12-31T15:00:00+00:00", "c.d", 30)
    assert c.start_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert (d.kwargs, d.overlap) == ({"a": None}, "queue")


GOOD = 'every = 30\ncallback = "m:f"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("every = 5", ["'every'", "[jobs.ID]"]),
        ("[job.a]\n" + GOOD, ["'job'", "did you mean 'jobs'"]),
        ("jobs = 5", ["'jobs'", "[jobs.ID]"]),
        ("[[jobs]]\nid = 1", ["[jobs.ID]"]),
        ("[jobs]\na = 5", ["'a'", "give a table"]),
        ("[jobs.a]\n", ["line 1", "'a'", "exactly one of every, daily, cron, once, and has none"]),
        ("[jobs.a]\ndaily = '10:00'\n" + GOOD, ["line 1", "has every and daily"]),
        ("[jobs.a]\nevery = 5\n", ["line 1", "callback: is missing"]),
        ("\n\n[jobs.a]\nevery = 0\ncallback = 'm:f'", ["line 4", "'a'", "every: An interval can't be 0"]),
        ("[jobs.a]\nevery = 1e400\ncallback = 'm:f'", ["line 2", "every"]),
        ("[jobs.a]\nevery = nan\ncallback = 'm:f'", ["line 2", "every"]),
        ("[jobs.a]\nevery = [1]\ncallback = 'm:f'", ["line 2", "every"]),
        ("[jobs.a]\nevery = true\ncallback = 'm:f'", ["line 2", "every"]),
        ("[jobs.a]\nevery = 12:00:00\ncallback = 'm:f'", ["line 2", "every"]),
        ("[jobs.a]\ndaily = '25:00'\ncallback = 'm:f'", ["line 2", "daily", "25:00"]),
        ("[jobs.a]\ncron = '0 0 31 2 *'\ncallback = 'm:f'", ["line 2", "cron", "0 0 31 2 *"]),
        ("[jobs.a]\nonce = 'soon'\ncallback = 'm:f'", ["line 2", "once", "soon"]),
        ("[jobs.a]\nonce = 9999-01-01\ncallback = 'm:f'", ["line 2", "once", "out of range"]),
        (f"[jobs.a]\n{GOOD}jiter = 1", ["line 4", "'jiter'", "did you mean 'jitter'"]),
        (f"[jobs.a]\n{GOOD}jitter = 40", ["line 4", "jitter: 40 seconds is not less"]),
        (f"[jobs.a]\n{GOOD}timeout = '90s'", ["line 4", "timeout", "give seconds"]),
        (f"[jobs.a]\n{GOOD}enabled = 'yes'", ["line 4", "enabled", "True or False"]),
        (f"[jobs.a]\n{GOOD}enabled = 1", ["line 4", "enabled"]),
        (f"[jobs.a]\n{GOOD}max_retries = 99999999999999999999", ["line 4", "max_retries"]),
        (f"[jobs.a]\n{GOOD}tags = 'x'", ["line 4", "tags", "give a list"]),
        (f"[jobs.a]\n{GOOD}args = {{a = 1}}", ["line 4", "args", "give a list"]),
        (f"[jobs.a]\n{GOOD}args = [1, 2027-01-01]", ["line 4", "args", "of type date"]),
        (f"[jobs.a]\n{GOOD}args = [inf]", ["line 4", "args"]),
        (f"[jobs.a]\n{GOOD}kwargs = 'x'", ["line 4", "kwargs", "is no JSON"]),
        (f"[jobs.a]\n{GOOD}kwargs = '[]'", ["line 4", "kwargs", "give a dict"]),
        (f"[jobs.a]\n{GOOD}kwargs = '{{\"a\": 1, \"a\": 2}}'", ["line 4", "kwargs", "stands twice"]),
        (f"[jobs.a]\n{GOOD}kwargs = '{'[' * 99_999}'", ["line 4", "kwargs", "is no JSON"]),
        (f"[jobs.a]\n{GOOD}kwargs = {{a = '{'x' * 300_000}'}}", ["line 4", "kwargs", "262144"]),
        (f"[jobs.a]\n{GOOD}[jobs.a.kwargs]\n{'.'.join('a' * 60)} = 1", ["line 4", "kwargs", "levels deep"]),
        (f"[jobs.a]\n{GOOD}timezone = 'Mars/Olympus'", ["line 4", "timezone", "Mars/Olympus"]),
        (f"[jobs.a]\n{GOOD}start_at = 12:00:00", ["line 4", "start_at"]),
        (f"[jobs.a]\n{GOOD}start_at = 2027-01-02\nend_at = 2027-01-01", ["line 4", "start_at", "not before end_at"]),
        (f"[jobs.a]\n{GOOD}run_count = 1", ["line 4", "run_count", "state"]),
        (f"[jobs.a]\n{GOOD}job_id = 'b'", ["line 4", "job_id", "name of the table"]),
        (f"[jobs.a]\n{GOOD}schedule_type = 'cron'", ["line 4", "schedule_type", "every, daily, cron, once"]),
        (f"[jobs.a.b]\n{GOOD}", ["line 1", "'a'", "in quotes"]),
        ("[jobs.a]\nevery = 30\ncallback = 'f'", ["line 3", "callback", "module:qualname"]),
        ("[jobs.a]\nevery = 30\ncallback = 'm:<lambda>'", ["line 3", "callback"]),
        ("[jobs.a]\nevery = 30\ncallback = 7", ["line 3", "callback"]),
        (f"[jobs.' a']\n{GOOD}", ["line 1", "job_id", "no space at either end"]),
        (f"[jobs.'']\n{GOOD}", ["line 1", "job_id", "0 characters"]),
        (f"[jobs.{'x' * 201}]\n{GOOD}", ["line 1", "job_id", "201 characters"]),
        (f'[jobs."a\\u0000b"]\n{GOOD}', ["line 1", "job_id", "control characters"]),
        (f'[jobs."a\\u200bb"]\n{GOOD}', ["job_id", "printable"]),
        (f"[jobs.a]\n{GOOD}[jobs.b]\n{GOOD}x = 1\n[jobs.c]\n[jobs.d]\n", ["line 7", "'b'", "2 more"]),
        (f"[jobs.a]\n{GOOD}[jobs.a]\n{GOOD}", ["line 4"]),
        (f"[jobs.a]\n{GOOD}every = 31\n", ["line 4", "overwrite"]),
        ("[jobs.a]\nevery = \ncallback = 'm:f'", ["line 2"]),
        ("[jobs.a", ["can't be read as TOML"]),
        ("a\x00b", ["can't be read as TOML"]),
        ("x = " + "[" * 100_000, ["nests values too deep"]),
        ("x = " + "{a=" * 100_000, ["nests values too deep"]),
        ("x = " + "9" * 5_000, ["out of range"]),
        ("\n[" + "a." * 2_000_000 + "a]", ["line 2", "over 1000 parts"]),
        ("x = {" + "'a' . " * 100_000 + "a = 1}", ["line 1", "over 1000 parts"]),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_what_is_wrong_is_one_line_that_says_where(text: str, says: list[str]) -> None:
    message = refusal(text)
    assert [word for word in says if word not in message] == [], message
    assert len(message) < 700


def test_what_is_no_utf8_says_where() -> None:
    assert "line 2" in refusal(b"[jobs.a]\nname = '\xff'")
    refusal("[jobs.a]".encode("utf-16"))


def test_many_dots_in_a_value_are_no_long_key() -> None:
    numbers = ",".join(["0.5"] * 5_000)
    (one,) = read(f"[jobs.a]\n{GOOD}args = [{numbers}]\n")
    assert len(one.args) == 5_000


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_jobs_or_one_line(content: bytes) -> None:
    outcome(content)


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes() | st.dates() | st.times(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.text(max_size=30) | st.just("a"),
        st.dictionaries(st.sampled_from((*FIELDS, "job_id", "run_count", "x")), toml_values, max_size=8)
        | st.fixed_dictionaries({"every": st.just(30), "callback": st.just("m:f")},
                                optional=dict.fromkeys(FIELDS[6:], toml_values))
        | toml_values,
        max_size=3,
    )
)  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_any_tables_are_jobs_or_one_line(tables: dict[str, Any]) -> None:

    text = tomli_w.dumps({"jobs": tables})
    try:
        content = text.encode()
        tomllib.loads(text)
    except (UnicodeEncodeError, tomllib.TOMLDecodeError):
        return
    written = dump_jobs(define(outcome(content), "UTC", "x"))
    assert dump_jobs(read(written)) == written


def test_a_path_that_is_no_file_is_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(50 * 2**20)
    for path, says in (
        (tmp_path, "directory"),
        (pipe, "no regular file"),
        ("/dev/zero", "no regular file"),
        (tmp_path / "absent", "No such file"),
        (tmp_path / ("x" * 300), "too long"),
        ("a\x00b", "null"),
        (large, f"larger than {MOST_BYTES // 2**20} MiB"),
    ):
        with pytest.raises(InvalidJobError) as caught:
            load_jobs(path)
        assert says in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_load_jobs_are_jobs_of_code(tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    path.write_text(f"[jobs.a]\n{GOOD}[jobs.b]\nname = 'B'\ncron = '0 12 * * *'\ncallback = 'm:g'\n", encoding="utf-8")
    a, b = load_jobs(path)
    assert (type(a), a.job_id, a.name, a.schedule_value, a.timezone) == (ScheduleJob, "a", "a", 30, None)
    assert (b.name, b.callback) == ("B", "m:g")


def test_a_zone_that_only_the_settings_know_is_checked_as_well() -> None:
    text = "[jobs.a]\ndaily = '23:30'\ncallback = 'm:f'\nstart_at = 2027-01-01T00:00:00Z\nend_at = 2027-01-01T01:00:00Z"
    with pytest.raises(InvalidJobError, match=r"jobs\.toml: the job 'a'.*never fire"):
        read(text, "UTC")
    assert len(read(text, "Atlantic/Azores")) == 1


def test_the_difference_names_each_field_once() -> None:
    stored = {
        d.job_id: d
        for d in (
            definition("same"),
            definition("edited", tags=["x"], max_retries=5, kwargs={"n": 1}),
            definition("kind"),
            definition("gone"),
        )
    }
    wanted = [
        definition("new", schedule_type="cron", schedule_value="@daily"),
        definition("same"),
        definition("edited", tags=["x"], timeout=5, name="E", kwargs={"n": 1.0}),
        definition("kind", schedule_type="daily", schedule_value="14:30"),
    ]
    difference = compare(stored, wanted, removed={"gone"})
    assert difference.document() == {
        "added": [
            {"job_id": "new", "fields": {"cron": "@daily", "callback": "app.jobs:work", "timezone": ZONE}},
        ],
        "changed": [
            {
                "job_id": "edited",
                "fields": {
                    "name": {"old": "edited", "new": "E"},
                    "max_retries": {"old": 5, "new": 3},
                    "kwargs": {"old": {"n": 1}, "new": {"n": 1.0}},
                    "timeout": {"old": None, "new": 5},
                },
            },
            {"job_id": "kind", "fields": {"every": {"old": 30, "new": None}, "daily": {"old": None, "new": "14:30"}}},
        ],
        "removed": [
            {"job_id": "gone", "fields": {"every": 30, "callback": "app.jobs:work", "timezone": ZONE}},
        ],
        "unchanged": 1,
    }
    assert len(difference) == 4
    assert {(row["change"], row["job_id"]) for row in difference.rows()} == {
        ("added", "new"), ("changed", "edited"), ("changed", "kind"), ("removed", "gone"),
    }  # fmt: skip


def test_nothing_declared_is_no_wish_to_remove_everything() -> None:
    with pytest.raises(InvalidJobError, match="declares no job"):
        undeclared({"a": definition()}, [], source="jobs.toml", by_file_alone=True)
    assert undeclared({}, [], source="jobs.toml", by_file_alone=True) == set()


def test_an_empty_file_has_no_jobs() -> None:
    assert read("") == read(dump_jobs([])) == read("[jobs]\n") == []
