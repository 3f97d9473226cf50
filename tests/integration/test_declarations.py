"""Jobs declared by the thousand: what is stored and logged of each, side by side with others, and when one fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from scheduler_core import Container, ScheduleJob, SchedulerError, load_settings
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL

Sql = psycopg.Connection[Any]

# What the function that logs an edit would say of the jobs that were added; and the log's version is the row's.
NOT_AS_LOGGED = """
SELECT j.job_id FROM scheduler.jobs j
FULL JOIN scheduler.job_changes c ON c.job_id = j.job_id AND c.version = j.version
WHERE c.new IS DISTINCT FROM scheduler.job_document(to_jsonb(j)) OR c.old IS NOT NULL
   OR (c.action, c.source, c.actor) IS DISTINCT FROM ('added', %s, %s)
"""

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON scheduler.jobs FOR EACH ROW WHEN (NEW.job_id = 'job-1500')
EXECUTE FUNCTION refuse();
"""


async def work(*_args: object, **_options: object) -> None: ...


def job(n: int, **more: Any) -> JobDefinition:
    return ScheduleJob(f"job-{n:04}", f"Job {n}", "daily", f"{n % 24}:{n % 60:02}", work, **more).definition("UTC")


def of_all_kinds(count: int) -> list[JobDefinition]:
    """No two alike, and each field set in some."""
    kinds: list[dict[str, Any]] = [
        {},
        {"tags": ["a", "b"], "lock_key": "one", "use_distributed_lock": True},
        {"args": [1, {"ü": None}], "kwargs": {"b": 1.5, "a": [True, "\\u0041"]}},
        {"start_at": "2026-01-01T00:00", "end_at": "2030-01-01T00:00+09:00", "timezone": "Asia/Seoul"},
        {"enabled": False, "timeout": 3, "disable_after": 7, "jitter": 30, "misfire": "all"},
        {"dst": "both", "delivery": "at_most_once", "overlap": "queue"},
    ]
    jobs = [job(n, **kinds[n % len(kinds)]) for n in range(count)]
    others = [
        ScheduleJob("every", "E", "interval", 0.5, work),
        ScheduleJob("now", "N", "once", None, work),
        ScheduleJob("cron", "C", "cron", "*/5 * * * *", "app.jobs:send"),
    ]
    return [*(replace(job, lock_ttl=60.0 + n) for n, job in enumerate(jobs)), *(o.definition("UTC") for o in others)]


async def test_thousands_are_stored_and_logged_as_they_were_declared(container: Container, sql: Sql) -> None:
    operations = container.get_operations()
    declared = of_all_kinds(2_500)
    added = await operations.declare(declared)
    assert sorted(job.job_id for job in added) == sorted(job.job_id for job in declared)
    stored = {job.job_id: job for job in await container.get_storage().jobs.load([d.job_id for d in declared])}
    for one in added:
        found = stored[one.job_id]
        assert replace(found, digest="", declared_since=None) == one  # type: ignore[type-var]
        assert found.digest == one.definition.digest  # type: ignore[union-attr]
    sql.execute("SET timezone TO 'UTC'")
    assert sql.execute(NOT_AS_LOGGED, [operations.actor.source.value, operations.actor.name]).fetchall() == []
    assert await operations.declare(declared) == []
    assert sql.execute("SELECT count(*) FROM scheduler.job_changes").fetchone() == (len(declared),)


async def test_only_what_differs_is_changed(container: Container, sql: Sql) -> None:
    operations = container.get_operations()
    await operations.declare([job(n) for n in range(0, 2_400, 2)])
    mixed = [job(n, max_retries=9 if n in (4, 2_200) else 3) for n in range(2_400)]
    added = await operations.declare(mixed)
    assert {one.job_id for one in added} == {f"job-{n:04}" for n in range(1, 2_400, 2)}
    changed = sql.execute("SELECT job_id FROM scheduler.job_changes WHERE action = 'changed' ORDER BY 1").fetchall()
    assert changed == [("job-0004",), ("job-2200",)]


async def test_processes_that_add_the_same_thousands_at_once_do_not_wait_for_each_other_in_a_ring(
    container: Container, database_url: str, redis_url: str, sql: Sql
) -> None:
    """Each has several statements under way, and their batches begin at different jobs."""
    await container.prepare()
    others = [Container(load_settings(database_url=database_url, redis_url=redis_url)) for _ in range(2)]
    shares = [range(3_000), range(2_999, 500, -1), [*range(1_500, 3_000), *range(700)]]
    try:
        added = await asyncio.gather(
            *(
                c.get_operations().declare([job(n) for n in share])
                for c, share in zip([container, *others], shares, strict=True)
            )
        )
    finally:
        for other in others:
            await other.close()
    ids = [one.job_id for jobs in added for one in jobs]
    assert len(ids) == len(set(ids)) == 3_000
    assert sql.execute("SELECT count(*), max(version) FROM scheduler.job_changes").fetchone() == (3_000, 1)


async def test_a_batch_that_fails_leaves_whole_batches_and_can_be_repeated(container: Container, sql: Sql) -> None:
    await container.prepare()
    sql.execute(REFUSE)
    jobs = [job(n) for n in range(3_500)]
    with pytest.raises(SchedulerError, match="refused"):
        await container.get_operations().declare(jobs)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "scheduler declares jobs"]
    stored = sql.execute("SELECT left(job_id, 5), count(*) FROM scheduler.jobs GROUP BY 1 ORDER BY 1").fetchall()
    assert stored == [("job-0", 1_000), ("job-2", 1_000)], "the one before, and the one that was under way"
    assert sql.execute("SELECT count(*) FROM scheduler.job_changes").fetchone() == (2_000,)
    sql.execute("DROP TRIGGER refuse ON scheduler.jobs")
    assert len(await container.get_operations().declare(jobs)) == 1_500


async def test_whoever_leads_is_told_of_new_jobs_and_of_nothing_else(container: Container, sql: Sql) -> None:
    await container.prepare()
    sql.execute(f"LISTEN {NUDGE_CHANNEL}")
    operations = container.get_operations()
    await operations.declare([job(1)])
    assert [note.payload for note in sql.notifies(timeout=30, stop_after=1)] == ["scheduler:"]
    await operations.declare([job(1)])
    await operations.declare([job(2)])
    sql.execute(f"NOTIFY {NUDGE_CHANNEL}, 'the end'")
    assert [note.payload for note in sql.notifies(timeout=30, stop_after=2)] == ["scheduler:", "the end"]
