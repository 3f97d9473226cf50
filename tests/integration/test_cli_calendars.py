"""`scheduler calendars` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import Command

Sql = psycopg.Connection[Any]


@pytest.fixture
def scheduler(command: Command) -> Any:
    def run(*words: str, code: int = 0, given: str = "") -> str:
        done = command(*words, code=code, given=given)
        if code and not done.stdout:
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stdout or done.stderr

    return run


def test_a_calendar_is_made_extended_shown_and_reduced(scheduler: Any, tmp_path: Path, sql: Sql) -> None:
    file = tmp_path / "closed.txt"
    file.write_text("# company\n2026-12-24 Christmas Eve\n2026-12-31\n")
    assert "2 dates" in scheduler("calendars", "import", "closed", str(file))
    scheduler("calendars", "import", "closed", "-", given="2027-01-04, inventory")
    blackout = "2026-12-24T18:00+01:00/2026-12-27T06:00+01:00"
    said = scheduler("calendars", "add", "closed", "--business-days", "--period", blackout, "--date", "2026-12-31 Eve")
    assert "3 dates, sat sun, 1 periods" in said
    shown = json.loads(scheduler("calendars", "show", "closed", "--json"))
    assert shown["excluded_dates"] == {"2026-12-24": "Christmas Eve", "2026-12-31": "Eve", "2027-01-04": "inventory"}
    assert shown["excluded_weekdays"] == ["sat", "sun"]
    assert shown["excluded_periods"] == [["2026-12-24T17:00:00+00:00", "2026-12-27T05:00:00+00:00"]]
    assert (shown["version"], shown["job_count"], shown["job_ids"]) == (3, 0, [])
    (listed,) = json.loads(scheduler("calendars", "list", "--json"))
    assert listed == shown
    assert "closed" in scheduler("calendars", "list")
    assert "Christmas Eve" in scheduler("calendars", "show", "closed")
    scheduler("calendars", "remove", "closed", "--date", "2027-01-04", "--weekday", "sat")
    assert json.loads(scheduler("calendars", "show", "closed", "--json"))["excluded_weekdays"] == ["sun"]
    scheduler("calendars", "add", "closed", "--weekday", "mon", "--replace")
    assert json.loads(scheduler("calendars", "show", "closed", "--json"))["excluded_dates"] == {}


def test_a_calendar_that_a_job_names_stays(scheduler: Any, sql: Sql) -> None:
    scheduler("calendars", "add", "closed", "--date", "2026-12-25")
    add = ("jobs", "add", "j", "--callback", "apps.idle:work", "--daily", "12:00", "--policy", 'calendars=["closed"]')
    scheduler(*add)
    assert json.loads(scheduler("jobs", "show", "j", "--json"))["calendars"] == ["closed"]
    assert "named by 1 job ('j')" in scheduler("calendars", "remove", "closed", code=1)
    scheduler("jobs", "remove", "j")
    scheduler("calendars", "remove", "closed")
    assert json.loads(scheduler("calendars", "list", "--json")) == []


def test_a_country_is_imported(scheduler: Any, sql: Sql) -> None:
    scheduler("calendars", "import", "de", "--country", "DE", "--subdivision", "BE", "--years", "2026-2030")
    shown = json.loads(scheduler("calendars", "show", "de", "--json"))
    assert shown["excluded_dates"]["2028-03-08"] == "Frauentag"
    assert "DE-BE, 2026 to 2030" in shown["note"]


def test_next_shows_what_the_calendars_leave_out(scheduler: Any, sql: Sql) -> None:
    scheduler("calendars", "add", "business", "--business-days")
    add = ("jobs", "add", "j", "--callback", "a:b", "--daily", "12:00", "--policy", 'calendars=["business"]')
    scheduler(*add)
    rows = json.loads(scheduler("next", "j", "--count", "10", "--json"))
    assert len(rows) == 10
    assert sum(row["left_out"] for row in rows[1:]) in (2, 4)
    assert {row["left_out"] for row in rows} <= {0, 1, 2}
    assert "left_out" in scheduler("next", "j")
    sql.execute("DELETE FROM scheduler.calendars")
    assert "scheduler calendars add business" in scheduler("next", "j", code=1)
    report = json.loads(scheduler("doctor", "--json", code=1))
    assert [(t["kind"], t["subject"]) for t in report["findings"]] == [("no calendar", "j")]
    scheduler("calendars", "add", "business", "--date", "2020-01-01")
    report = json.loads(scheduler("doctor", "--json", code=1))
    assert [(t["kind"], t["subject"]) for t in report["findings"]] == [("calendar ends", "business")]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("show", "nothing"), 1, "no calendar 'nothing'"),
        (("remove", "nothing"), 1, "no calendar 'nothing'"),
        (("remove", "nothing", "--weekday", "sat"), 1, "no calendar 'nothing'"),
        (("add", "c", "--weekday", "caturday"), 2, "caturday"),
        (("add", "c", "--date", "25.12.2026"), 2, "25.12.2026"),
        (("add", "c", "--period", "now"), 2, "FROM/UNTIL"),
        (("add", "c", "--period", "2026-01-02/2026-01-01"), 2, "later end"),
        (("add", " c"), 2, "name"),
        (("import", "c"), 2, "either a file"),
        (("import", "c", "nowhere.txt"), 2, "nowhere.txt"),
        (("import", "c", "nowhere.txt", "--country", "DE"), 2, "either a file"),
        (("import", "c", "-", "--years", "2026"), 2, "--country"),
        (("import", "c", "--country", "Atlantis"), 2, "Atlantis"),
        (("import", "c", "--country", "DE", "--subdivision", "ZZ"), 2, "ZZ"),
        (("import", "c", "--country", "DE", "--years", "soon"), 2, "soon"),
    ],
)
def test_what_is_wrong_is_one_line_and_stores_nothing(
    scheduler: Any, sql: Sql, words: tuple[str, ...], code: int, says: str
) -> None:
    assert says in scheduler("calendars", *words, code=code)
    assert sql.execute("SELECT count(*) FROM scheduler.calendars").fetchone() == (0,)


def test_a_job_that_names_no_calendar_is_one_line(scheduler: Any, sql: Sql) -> None:
    add = ("jobs", "add", "j", "--callback", "a:b", "--every", "5", "--policy", 'calendars=["c"]')
    assert "scheduler calendars add c" in scheduler(*add, code=2)
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)
