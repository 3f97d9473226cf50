"""Functions that act with the owner's rights serve our tables and those who were granted them: asked as an attacker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from logins import login, url_as
from psycopg import errors

from scheduler_core import Container, ScheduleJob

Sql = psycopg.Connection[Any]

BORROWING = """
SELECT p.oid::regprocedure::text, p.prosecdef, has_function_privilege('public', p.oid, 'EXECUTE')
FROM pg_proc p
WHERE p.pronamespace = 'scheduler'::regnamespace AND (p.prosecdef OR p.prorettype = 'trigger'::regtype)
ORDER BY 1
"""

HANG = {
    "log_changed_job": ("AFTER UPDATE", "FOR EACH ROW"),
    "log_added_jobs": ("AFTER INSERT", "REFERENCING NEW TABLE AS added FOR EACH STATEMENT"),
    "log_removed_jobs": ("AFTER DELETE", "REFERENCING OLD TABLE AS removed FOR EACH STATEMENT"),
    "log_truncated_jobs": ("BEFORE TRUNCATE", "FOR EACH STATEMENT"),
    "log_calendar": ("AFTER INSERT", "FOR EACH ROW"),
    "note_failed_attempt": ("AFTER INSERT", "FOR EACH ROW"),
}

MINE = """
CREATE TEMP TABLE mine (
    job_id text, run_id uuid, scheduled_for timestamptz, attempt integer, version bigint, name text, enabled boolean,
    schedule_type text, schedule_value jsonb, timezone text, start_at timestamptz, end_at timestamptz, dst text,
    jitter float, calendars text[], callback text, args jsonb, kwargs jsonb, misfire text, misfire_grace float,
    catch_up_limit integer, overlap text, delivery text, timeout float, max_retries integer, retry_delay float,
    retry_max_delay float, disable_after integer, executor text, tags text[], use_distributed_lock boolean,
    lock_key text, lock_ttl float, anchor timestamptz, paused_at timestamptz, paused_until timestamptz, paused_by text,
    pause_note text, auto_disabled_at timestamptz)
"""

ROW = "'j', gen_random_uuid(), now(), 1, 9223372036854775806, 'forged'"

FIRE = (
    f"INSERT INTO mine (job_id, run_id, scheduled_for, attempt, version, name) VALUES ({ROW})",
    "UPDATE mine SET version = version + 1",
    "DELETE FROM mine",
    "TRUNCATE mine",
)

KEPT = """
SELECT (SELECT count(*) FROM scheduler.jobs), (SELECT count(*) FROM scheduler.job_changes),
       (SELECT max(version) FROM scheduler.jobs), (SELECT count(*) FROM scheduler.calendar_changes),
       (SELECT count(*) FROM scheduler.failed_attempts)
"""


async def work() -> None: ...


def fire(connection: Sql) -> None:
    for statement in FIRE:
        connection.execute(statement)


@pytest.fixture(params=["pg_read_all_data", "usage only"])
def attacker(sql: Sql, request: pytest.FixtureRequest) -> Iterator[str]:
    """Two who may not write a row: who reads everything, and who may name what is in the schema."""
    options = ("IN ROLE pg_read_all_data",) if request.param == "pg_read_all_data" else ()
    with login(sql, "attacker", *options) as role:
        if not options:
            sql.execute(f"GRANT USAGE ON SCHEMA scheduler TO {role}")
        yield role


@pytest.fixture
async def jobs(container: Container) -> None:
    await container.prepare()
    for job_id in ("i", "j", "k"):
        job = ScheduleJob(job_id, job_id, "interval", 60, work)
        await container.get_operations().declare([job.definition("UTC")])


def test_nobody_may_call_them_who_was_not_granted_it(sql: Sql) -> None:
    found = sql.execute(BORROWING).fetchall()
    assert {name.removeprefix("scheduler.").partition("(")[0] for name, borrows, _ in found if borrows} == {
        *HANG,
        "create_history_day",
        "fit_out_history",
    }, "a new one belongs into the test below"
    assert [name for name, _, is_public in found if is_public] == []


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("function", HANG)
def test_a_trigger_function_can_t_be_hung_on_somebody_s_own_table(sql: Sql, attacker: str, function: str) -> None:
    """Not without EXECUTE; with it, as a careless GRANT ON ALL FUNCTIONS gives it, the function looks where it is."""
    before = sql.execute(KEPT).fetchone()
    when, how = HANG[function]
    hang = f"CREATE TRIGGER mine {when} ON mine {how} EXECUTE FUNCTION scheduler.{function}()"
    with psycopg.connect(url_as(sql, attacker), autocommit=True) as connection:
        connection.execute(MINE)
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for function"):
            connection.execute(hang)
        sql.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scheduler TO {attacker}")
        connection.execute(hang)
        with pytest.raises(errors.InsufficientPrivilege, match="is a trigger of"):
            fire(connection)
    assert sql.execute(KEPT).fetchone() == before


@pytest.mark.parametrize(
    ("parent", "partition"),
    [
        ("jobs", "jobs_20260101"),
        ("runs", "attempts_20260101"),
        ("runs", "runs_20260101; DROP TABLE scheduler.jobs"),
        ("runs", "runs_x"),
        ("runs", None),
        (None, "runs_20260101"),
        ("runs\n", "runs_20260101"),
        ("runs", "runs_20260101\n"),
    ],
)
def test_who_may_have_days_made_may_have_nothing_else_made(
    sql: Sql, attacker: str, parent: str | None, partition: str | None
) -> None:
    sql.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scheduler TO {attacker}")
    with (
        psycopg.connect(url_as(sql, attacker), autocommit=True) as connection,
        pytest.raises(errors.InsufficientPrivilege, match="create_history_day"),
    ):
        connection.execute("SELECT scheduler.create_history_day(%s, %s, '2026-01-01')", [parent, partition])


def test_days_are_made_in_our_schema_and_copied_from_our_tables(sql: Sql, attacker: str) -> None:
    """Whatever stands before it on the way by which the caller finds names."""
    sql.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scheduler TO {attacker}")
    with psycopg.connect(url_as(sql, attacker), autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE runs (mine integer)")
        connection.execute("SET search_path TO pg_temp, public")
        connection.execute("SET timezone TO 'Asia/Kolkata'")
        connection.execute("SELECT scheduler.create_history_day('runs', 'runs_20260101', '2026-01-01')")
    bounds = "SELECT first, last FROM scheduler.table_partitions WHERE partition = 'scheduler.runs_20260101'::regclass"
    first, last = sql.execute(bounds).fetchone() or (None, None)
    assert (str(first), str(last)) == ("2026-01-01 00:00:00+00:00", "2026-01-02 00:00:00+00:00")
