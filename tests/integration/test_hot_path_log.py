"""The log costs the hot path nothing: neither claims nor outcomes call its triggers."""

from __future__ import annotations

from typing import Any

import psycopg
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob

Sql = psycopg.Connection[Any]

# Without log_removed_jobs: each pause asks it once for each time that the leader was faster.
CALLS = """
SELECT funcname, calls FROM pg_stat_user_functions
WHERE funcname IN ('log_added_jobs', 'log_changed_job') ORDER BY funcname
"""

LISTENED_FOR = """
SELECT t.tgname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_trigger t CROSS JOIN LATERAL unnest(t.tgattr) AS listed (attnum)
JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = listed.attnum
WHERE t.tgrelid = 'scheduler.jobs'::regclass
GROUP BY t.tgname
"""


async def work() -> None: ...


async def test_hundreds_of_fires_call_no_trigger(container: Container, sql: Sql) -> None:
    sql.execute(f"ALTER DATABASE \"{sql.info.dbname}\" SET track_functions = 'pl'")
    await container.start()
    scheduler = container.get_scheduler()
    await scheduler.add_jobs([ScheduleJob(f"j{n}", "J", "interval", 0.02, work) for n in range(10)])
    await scheduler.add_job(ScheduleJob("once", "J", "once", None, work))
    await scheduler.operations.pause("j0")

    async def fired() -> bool:
        row = sql.execute("SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded'").fetchone()
        return row is not None and row[0] >= 300

    await eventually_async(fired)
    # Sessions tell their statistics when they end.
    await container.close()

    async def told() -> bool:
        return sql.execute(CALLS).fetchall() == [("log_added_jobs", 2), ("log_changed_job", 1)]

    await eventually_async(told)
    assert sql.execute("SELECT count(*) FROM scheduler.job_changes").fetchone() == (12,)


def test_what_a_claim_sets_is_listened_for_by_nobody(sql: Sql) -> None:
    listened = {name: set(columns) for name, columns in sql.execute(LISTENED_FOR).fetchall()}
    assert listened["job_changed"] == {"version", "auto_disabled_at"}, "what an outcome sets, compared and no more"
    claimed = {"next_run", "due_at", "finished_at"}
    counted = {"run_count", "error_count", "last_run", "last_status", "last_error", "consecutive_failures"}
    assert not (claimed | counted) & (listened["job_changed"] | listened["job_edited"])


def test_every_column_of_a_job_is_logged_or_named_as_not_logged(sql: Sql) -> None:
    """A column that is added later must not slip through unheard."""
    rows = sql.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'scheduler.jobs'::regclass AND attnum > 0 "
        "AND NOT attisdropped"
    ).fetchall()
    every = {row[0] for row in rows}
    names = sql.execute("SELECT jsonb_object_keys(scheduler.job_document(to_jsonb(CAST(NULL AS scheduler.jobs))))")
    nothing = names.fetchall()
    assert nothing == []
    document = sql.execute(
        "SELECT array_agg(key) FROM jsonb_object_keys(scheduler.job_document("
        "(SELECT jsonb_object_agg(name, 1) FROM unnest(%s::text[]) AS name))) AS key",
        [sorted(every)],
    ).fetchone()
    assert document is not None
    listened = {name: set(columns) for name, columns in sql.execute(LISTENED_FOR).fetchall()}
    assert set(document[0]) <= listened["job_edited"] | listened["job_changed"]
    assert {"version"} == (listened["job_edited"] | listened["job_changed"]) - set(document[0])
