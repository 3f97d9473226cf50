"""The log of changes: the database writes it, whoever changes a job, and nobody rewrites it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from scheduler_core import Calendar, Container, ScheduleJob

Sql = psycopg.Connection[Any]

LOG = "SELECT version, action, source, actor FROM scheduler_audit.job_changes WHERE job_id = 'j' ORDER BY version"


async def work() -> None: ...


def job(seconds: float = 3600, **policies: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", seconds, work, **policies)


async def declare(container: Container, *jobs: ScheduleJob) -> None:
    await container.get_operations().declare([one.definition("UTC") for one in jobs])


def actions(sql: Sql) -> list[str]:
    return [row[1] for row in sql.execute(LOG).fetchall()]


def versions(sql: Sql) -> list[int]:
    return [row[0] for row in sql.execute(LOG).fetchall()]


async def test_each_verb_is_one_entry_with_a_number_of_its_own(container: Container, sql: Sql) -> None:
    operations = container.get_operations()
    await declare(container, job())
    await declare(container, job())
    await operations.pause("j", note="why")
    await operations.pause("j", note="because")
    await operations.resume("j")
    await operations.resume("j")
    await declare(container, job(1800))
    await declare(container, job(1800, enabled=False))
    await declare(container, job(1800, enabled=True))
    await operations.remove("j")
    await declare(container, job())
    assert actions(sql) == [
        "added",
        "paused",
        "paused",
        "resumed",
        "changed",
        "disabled",
        "enabled",
        "removed",
        "added",
    ]
    assert versions(sql) == list(range(1, 10))
    assert sql.execute("SELECT version FROM scheduler.jobs").fetchone() == (9,)


async def test_an_entry_holds_the_definition_before_and_after_and_no_counters(container: Container, sql: Sql) -> None:
    await declare(container, job())
    await declare(container, job(1800))
    row = sql.execute("SELECT old, new FROM scheduler_audit.job_changes WHERE version = 2").fetchone()
    assert row is not None
    old, new = row
    assert {key for key in new if old[key] != new[key]} == {"schedule_value"}
    assert (old["schedule_value"], new["schedule_value"]) == (3600, 1800)
    assert new["anchor"].endswith("+00:00")
    assert not {"next_run", "due_at", "run_count", "last_error", "version", "digest"} & set(new)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul"])
async def test_a_hand_edit_is_logged_as_such_and_gets_a_number(container: Container, sql: Sql, zone: str) -> None:
    await declare(container, job())
    sql.execute(f"SET timezone = '{zone}'")
    sql.execute("UPDATE scheduler.jobs SET max_retries = 9, error_count = 7 WHERE job_id = 'j'")
    sql.execute("UPDATE scheduler.jobs SET paused_at = now(), version = version + 1 WHERE job_id = 'j'")
    sql.execute("UPDATE scheduler.jobs SET auto_disabled_at = now(), paused_at = NULL WHERE job_id = 'j'")
    sql.execute("UPDATE scheduler.jobs SET max_retries = 9, error_count = 8 WHERE job_id = 'j'")
    sql.execute("UPDATE scheduler.jobs SET version = 1 WHERE job_id = 'j'")
    sql.execute("UPDATE scheduler.jobs SET job_id = 'k' WHERE job_id = 'j'")
    sql.execute(
        'INSERT INTO scheduler.jobs SELECT (jsonb_populate_record(j, \'{"job_id": "j"}\')).* FROM scheduler.jobs j'
    )
    sql.execute("DELETE FROM scheduler.jobs WHERE job_id = 'j'")
    assert sql.execute(LOG).fetchall()[1:] == [
        (2, "changed", "sql", "postgres"),
        (3, "paused", "sql", "postgres"),
        (4, "resumed", "sql", "postgres"),
        (5, "renumbered", "sql", "postgres"),
        (6, "removed", "sql", "postgres"),
        (7, "added", "sql", "postgres"),
        (8, "removed", "sql", "postgres"),
    ]
    assert sql.execute(LOG.replace("'j'", "'k'")).fetchall() == [(5, "added", "sql", "postgres")]
    chain = sql.execute(
        "SELECT count(*) FROM scheduler_audit.job_changes a JOIN scheduler_audit.job_changes b "
        "ON b.job_id = a.job_id AND b.version = a.version + 1 WHERE b.old IS DISTINCT FROM a.new"
    ).fetchone()
    assert chain == (0,), "each entry begins where the one before ended"


async def test_truncating_the_jobs_is_logged(container: Container, sql: Sql) -> None:
    await declare(container, job())
    sql.execute("TRUNCATE scheduler.jobs")
    assert actions(sql) == ["added", "removed"]


@pytest.mark.parametrize("table", ["job_changes", "calendar_changes"])
@pytest.mark.parametrize(
    "statement", ["UPDATE scheduler.{} SET actor = 'nobody'", "DELETE FROM scheduler.{}", "TRUNCATE scheduler.{}"]
)
async def test_the_log_is_append_only_for_a_superuser_too(
    container: Container, sql: Sql, table: str, statement: str
) -> None:
    await declare(container, job())
    await container.get_calendars().put(Calendar("c"))
    for role in ("origin", "replica"):
        sql.execute(f"SET session_replication_role = {role}")
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            sql.execute(statement.format(table))
    assert sql.execute(f"SELECT count(*) FROM scheduler.{table}").fetchone() == (1,)
    sql.execute(f"ALTER TABLE scheduler.{table} DISABLE TRIGGER append_only")
    sql.execute(statement.format(table))


async def test_calendars_have_a_log_too(container: Container, sql: Sql) -> None:
    operations = container.get_calendars()
    await operations.put(Calendar("c", ["2026-12-25"]))
    await operations.put(Calendar("c", ["2026-12-25"]))
    await operations.put(Calendar("c", ["2026-12-26"]))
    await operations.remove("c")
    rows = sql.execute("SELECT action, version, old, new FROM scheduler_audit.calendar_changes ORDER BY change_id")
    found = rows.fetchall()
    assert [row[:2] for row in found] == [("added", 1), ("changed", 2), ("removed", 3)]
    assert list(found[1][2]["excluded_dates"]) == ["2026-12-25"]
    assert list(found[1][3]["excluded_dates"]) == ["2026-12-26"]
