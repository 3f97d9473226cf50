"""The auditors' questions on a real server: what was taken out of the record is found, and nothing else is."""

from __future__ import annotations

import asyncio
import getpass
import json
import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import commands
import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Calendar, Container, ScheduleJob
from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.domain.planning.segments import TICK
from scheduler_core.storage.reads import gaps as gaps_module

Sql = psycopg.Connection[Any]

INSERT_RUN = """
INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version,
                            missed_count, missed_from)
VALUES (gen_random_uuid(), %(job)s, %(job)s, %(last)s, %(last)s, 'schedule', %(status)s, 1, %(count)s, %(first)s)
"""


async def work() -> None: ...


async def declare(container: Container, *jobs: ScheduleJob) -> None:
    await container.get_operations().declare([one.definition("UTC") for one in jobs])


@pytest.fixture
async def leading(container: Container) -> Container:
    await container.start()
    return container


async def unaccounted(container: Container, **filters: Any) -> list[tuple[str, datetime, datetime, int]]:
    report = await container.get_auditor().gaps(AuditFilter(**filters))
    assert report.unchecked == []
    assert report.unaccounted == sum(gap.count for gap in report.gaps)
    return [(gap.job_id, gap.first, gap.last, gap.count) for gap in report.gaps]


async def passed(sql: Sql, job_id: str, count: int) -> None:
    async def ask() -> bool:
        query = "SELECT count(*) FROM scheduler.runs WHERE job_id = %s AND status = 'succeeded'"
        row = sql.execute(query, [job_id]).fetchone()
        return row is not None and row[0] >= count

    await eventually_async(ask)


async def test_rows_taken_out_of_a_live_history_are_found_and_nothing_else(leading: Container, sql: Sql) -> None:
    """Changes, pauses, calendars, a disabling, a removal: and between all of them the leader claims."""
    operations, chance = leading.get_scheduler().operations, random.Random(7)
    now = datetime.now(UTC)
    await leading.get_calendars().put(Calendar("c", excluded_periods=[(now, now + timedelta(seconds=2))]))
    fast = [ScheduleJob(f"fast-{n}", "F", "interval", 0.05 + n / 100, work) for n in range(3)]
    cron = ScheduleJob("cron", "C", "cron", "* * * * * *", work, calendars=["c"])
    await leading.get_scheduler().add_jobs([*fast, cron])
    await passed(sql, "fast-0", 10)
    assert await unaccounted(leading) == []

    await operations.pause("fast-0")
    await leading.get_scheduler().add_job(ScheduleJob("fast-1", "F", "interval", 0.031, work, jitter=0.02))
    await asyncio.sleep(0.5)
    await operations.resume("fast-0")
    await operations.remove("fast-2")
    sql.execute(
        "UPDATE scheduler.jobs SET auto_disabled_at = clock_timestamp(), due_at = NULL, version = version + 1 "
        "WHERE job_id = 'fast-0'"
    )
    await asyncio.sleep(0.3)
    assert await unaccounted(leading) == [], "while it is disabled, too"
    await operations.resume("fast-0")
    await leading.get_scheduler().add_job(ScheduleJob("fast-2", "F", "interval", 0.07, work))
    await passed(sql, "cron", 2)
    await passed(sql, "fast-2", 15)
    await operations.pause("fast-1")
    assert await unaccounted(leading) == []

    rows = sql.execute(
        "SELECT job_id, scheduled_for, coalesce(missed_from, scheduled_for), coalesce(missed_count, 1) "
        "FROM scheduler.runs WHERE finished_at IS NOT NULL"
    ).fetchall()
    assert {"missed"} <= {row[0] for row in sql.execute("SELECT DISTINCT status FROM scheduler.runs").fetchall()}
    taken = chance.sample(rows, 12) + [row for row in rows if row[3] > 1]
    for job_id, last, _, _ in taken:
        sql.execute("DELETE FROM scheduler.runs WHERE job_id = %s AND scheduled_for = %s", [job_id, last])
    found = await unaccounted(leading)
    assert sum(count for *_, count in found) == sum(row[3] for row in set(taken))
    for job_id, last, first, _ in taken:
        assert any(job == job_id and low <= first and last <= high for job, low, high, _ in found)
    only = await unaccounted(leading, job_id="fast-0")
    assert only == [gap for gap in found if gap[0] == "fast-0"]


async def test_a_backfill_closes_a_gap(leading: Container, sql: Sql) -> None:
    await leading.get_scheduler().add_job(ScheduleJob("j", "J", "interval", 0.05, work))
    await passed(sql, "j", 20)
    await leading.get_scheduler().operations.pause("j")
    rows = sql.execute(
        "SELECT scheduled_for FROM scheduler.runs WHERE origin = 'schedule' ORDER BY 1 LIMIT 9"
    ).fetchall()
    begin, end = rows[2][0], rows[6][0]
    sql.execute("DELETE FROM scheduler.runs WHERE scheduled_for BETWEEN %s AND %s", [begin, end])
    assert await unaccounted(leading) == [("j", begin, end, 5)]
    await leading.get_scheduler().run_operations.backfill("j", begin, end)
    assert await unaccounted(leading) == []


async def test_what_no_log_explains_is_told(container: Container, sql: Sql) -> None:
    await container.prepare()
    await declare(
        container, *(ScheduleJob(name, "J", "interval", 60, work) for name in ("edited", "gone", "odd", "well"))
    )
    sql.execute("ALTER TABLE scheduler.jobs DISABLE TRIGGER USER")
    sql.execute("UPDATE scheduler.jobs SET schedule_value = '3600' WHERE job_id = 'edited'")
    sql.execute("DELETE FROM scheduler.jobs WHERE job_id = 'gone'")
    sql.execute("ALTER TABLE scheduler.jobs ENABLE TRIGGER USER")
    sql.execute("UPDATE scheduler.jobs SET timezone = 'Mars/Olympus' WHERE job_id = 'odd'")
    report = await container.get_auditor().gaps(AuditFilter())
    assert not report.is_clean
    reasons = {doubt["job_id"]: doubt["reason"] for doubt in report.unchecked}
    assert reasons.keys() == {"edited", "gone", "odd"}
    assert "schedule_value" in reasons["edited"]
    assert "removal was not logged" in reasons["gone"]
    assert "version 2" in reasons["odd"]


async def test_pages_of_jobs_of_rows_and_of_the_log_fit_together(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await container.prepare()
    now = await container.get_database().now()
    anchor = now - timedelta(minutes=30)
    jobs = [ScheduleJob(f"job {n} é {chr(65 + n % 50)}", "J", "interval", 60, work, start_at=anchor) for n in range(23)]
    # As if they had been stored half an hour ago, with a row for each minute since.
    sql.execute("ALTER TABLE scheduler.job_changes DISABLE TRIGGER append_only")
    await declare(container, *jobs)
    await declare(container, *(job.model_copy(update={"max_retries": 9}) for job in jobs[:11]))
    sql.execute("UPDATE scheduler.job_changes SET effective_at = effective_at - interval '30 min'")
    sql.execute("ALTER TABLE scheduler.job_changes ENABLE ALWAYS TRIGGER append_only")
    with sql.cursor() as cursor:
        cursor.executemany(
            INSERT_RUN,
            [
                {
                    "job": job.job_id,
                    "last": anchor + timedelta(minutes=n),
                    "status": "succeeded",
                    "count": None,
                    "first": None,
                }
                for job in jobs
                for n in range(30)
            ],
        )
    sql.execute("UPDATE scheduler.jobs SET next_run = %s", [anchor + timedelta(minutes=30)])
    missing = [
        (jobs[n].job_id, anchor + timedelta(minutes=minute)) for n, minute in ((0, 3), (7, 29), (7, 4), (22, 12))
    ]
    for job_id, instant in missing:
        sql.execute("DELETE FROM scheduler.runs WHERE job_id = %s AND scheduled_for = %s", [job_id, instant])
    whole = await unaccounted(container)
    assert sorted((job, first) for job, first, _, _ in whole) == sorted(missing)
    for name, size in (("JOBS_AT_ONCE", 4), ("ROWS_AT_ONCE", 7), ("LOG_AT_ONCE", 3)):
        monkeypatch.setattr(gaps_module, name, size)
    assert sorted(await unaccounted(container)) == sorted(whole)

    late = await unaccounted(
        container, since=anchor + timedelta(minutes=4) + TICK, until=anchor + timedelta(minutes=20)
    )
    assert [(job, first) for job, first, _, _ in late] == [missing[3]]
    report = await container.get_auditor().gaps(AuditFilter(limit=1))
    assert (len(report.gaps), report.unaccounted, report.jobs) == (1, 4, 23)


INSERT_ATTEMPT = """
INSERT INTO scheduler.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome, term,
                                instance_id, late)
SELECT run_id, job_id, scheduled_for, %(attempt)s, scheduled_for + make_interval(secs => %(from)s),
       scheduled_for + make_interval(secs => %(to)s), %(outcome)s, %(term)s, 'i', %(late)s
FROM scheduler.runs WHERE job_id = %(job)s
"""


def attempts(sql: Sql, job: str, *rows: tuple[int, int, float, float, str, bool]) -> None:
    """A run of the job with these attempts: (number, term, from, to, outcome, late), seconds after its instant."""
    sql.execute(
        "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, "
        "definition_version) VALUES (gen_random_uuid(), %s, 'J', now(), now(), 'schedule', 'failed', 1)",
        [job],
    )
    for number, term, begin, end, outcome, late in rows:
        values = {"attempt": number, "term": term, "from": begin, "to": end, "outcome": outcome, "late": late}
        sql.execute(INSERT_ATTEMPT, values | {"job": job})


async def test_duplicates_are_executions_beyond_the_policy(container: Container, sql: Sql) -> None:
    await container.prepare()
    kinds = {"once": "at_most_once", "least": "at_least_once"}
    await declare(
        container,
        *(
            ScheduleJob(f"{short}-{case}", "J", "interval", 9999, work, delivery=delivery)
            for short, delivery in kinds.items()
            for case in ("retried", "again", "overlap", "back")
        ),
    )
    for short in kinds:
        attempts(sql, f"{short}-retried", (1, 1, 0, 1, "failed", False), (2, 1, 2, 3, "failed", False))
        attempts(sql, f"{short}-again", (1, 1, 0, 9, "lost", False), (2, 2, 5, 6, "failed", False))
        attempts(sql, f"{short}-overlap", (1, 1, 0, 9, "succeeded", True), (2, 2, 5, 6, "failed", False))
        attempts(sql, f"{short}-back", (1, 1, 0, 9, "lost", False), (1, 1, 0, 7, "succeeded", True))
    rows = await container.get_auditor().duplicates(AuditFilter())
    assert {(row["kind"], row["job_id"], row["executions"]) for row in rows} == {
        ("beyond_policy", "once-again", 2),
        ("beyond_policy", "once-overlap", 2),
        ("overlapping", "once-overlap", 2),
        ("overlapping", "least-overlap", 2),
    }
    assert await container.get_auditor().duplicates(AuditFilter(until=datetime(2020, 1, 1, tzinfo=UTC))) == []
    assert len(await container.get_auditor().duplicates(AuditFilter(job_id="least-overlap"))) == 1


async def test_two_rows_of_one_occurrence_would_show(container: Container, sql: Sql) -> None:
    await container.prepare()
    sql.execute(
        "DO $$ DECLARE c text; BEGIN SELECT conname INTO c FROM pg_constraint WHERE conrelid = "
        "'scheduler.runs'::regclass AND contype = 'u'; EXECUTE 'ALTER TABLE scheduler.runs DROP CONSTRAINT ' "
        "|| quote_ident(c); END $$"
    )
    for _ in range(2):
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        sql.execute(INSERT_RUN, {"job": "j", "last": now, "status": "succeeded", "count": None, "first": None})
    rows = await container.get_auditor().duplicates(AuditFilter())
    assert [(row["kind"], row["executions"]) for row in rows] == [("two_rows", 2)]


def scheduler(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.as_text(
        commands.scheduler(*arguments, environment=environment, folder=Path.cwd(), within_seconds=120)
    )


async def test_the_command_line(container: Container, sql: Sql, environment: dict[str, str]) -> None:
    await container.prepare()
    await declare(container, ScheduleJob("j", "J", "interval", 3600, work))
    clean = scheduler(environment, "audit", "gaps", "--json")
    assert clean.returncode == 0, clean.stderr
    assert json.loads(clean.stdout)["clean"] is True
    assert scheduler(environment, "audit", "duplicates").returncode == 0

    done = scheduler(environment, "jobs", "pause", "j", "--note", "why")
    assert done.returncode == 0, done.stderr
    sql.execute(
        "UPDATE scheduler.jobs SET anchor = anchor - interval '3 hours', next_run = next_run - interval '1 minute'"
    )
    sql.execute("ALTER TABLE scheduler.job_changes DISABLE TRIGGER append_only")
    sql.execute("UPDATE scheduler.job_changes SET effective_at = effective_at - interval '3 hours'")
    found = scheduler(environment, "audit", "gaps")
    assert found.returncode == 1
    assert "unaccounted" in found.stdout

    log = json.loads(scheduler(environment, "audit", "changes", "--job", "j", "--json").stdout)
    assert [entry["action"] for entry in log] == ["changed", "paused", "added"]
    assert [entry["source"] for entry in log] == ["sql", "cli", "cli"]
    assert log[1]["actor"].startswith(f"{getpass.getuser()}@")
    assert "paused_at" in scheduler(environment, "audit", "changes", "--limit", "2").stdout
    assert scheduler(environment, "audit", "leadership").returncode == 0


@pytest.mark.parametrize("question", ["gaps", "duplicates", "changes", "leadership"])
async def test_each_question_prints_sql_that_runs_as_it_is(
    container: Container, sql: Sql, environment: dict[str, str], question: str
) -> None:
    await container.prepare()
    await declare(container, ScheduleJob("it's", "J", "interval", 3600, work))
    options = [] if question == "leadership" else ["--job", "it's"]
    for filters in ([], ["--since", "2026-01-01", "--until", "2030-01-01T10:00:00", *options]):
        printed = scheduler(environment, "audit", question, "--sql", *filters)
        assert printed.returncode == 0, printed.stderr
        sql.execute(printed.stdout)
