"""Postgres answers, and says no: what was to be written is written once it says yes, and called once.

jobrunr #1264, a read-only moment after which finished work was done again; river #1225, a pool that went on asking the
old primary.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, ServerUnreachableError, load_settings

Sql = psycopg.Connection[Any]

FORBID = """
CREATE TABLE public.forbidden (event text, code text);
CREATE FUNCTION public.forbid() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    what text := CASE WHEN TG_OP = 'INSERT' THEN 'claim' WHEN NEW.status = 'running' THEN 'start'
                      WHEN NEW.status IN ('succeeded', 'failed') THEN 'outcome' END;
    code text := (SELECT f.code FROM public.forbidden f WHERE f.event = what);
BEGIN
    IF code IS NOT NULL THEN
        RAISE EXCEPTION 'somebody forbids it' USING ERRCODE = code;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER forbid BEFORE INSERT OR UPDATE ON scheduler.runs FOR EACH ROW
WHEN (NEW.job_id LIKE 'forbidden%') EXECUTE FUNCTION public.forbid()
"""

POOL = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'scheduler'"

END_POOL = f"SELECT pg_terminate_backend(pid) FROM ({POOL}) AS pool"

NOT_ITS_DATA = (
    "25006",
    "26000",
    "40001",
    "40P01",
    "42501",
    "42P01",
    "53100",
    "55000",
    "55P03",
    "57014",
    "P0001",
    "XX000",
)
"""One of each kind in the table of what SQLSTATEs mean, but for what ends the session or blames the data."""


@pytest.fixture
async def replica(database_url: str, redis_url: str) -> AsyncIterator[Container]:
    made = Container(
        load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0, drain_timeout=2.0)
    )
    await made.get_scheduler().start()
    yield made
    await made.close()


@pytest.fixture
def calls() -> list[str]:
    return []


def once(job_id: str, calls: list[str], **policies: Any) -> ScheduleJob:
    async def work() -> None:
        calls.append(job_id)

    return ScheduleJob(job_id, job_id, "once", None, work, **policies)


async def until(sql: Sql, question: str, expected: object, *parameters: object) -> None:
    async def asked() -> bool:
        return sql.execute(question, parameters).fetchone() == (expected,)

    await eventually_async(asked, what=f"{expected} for {question}")


STATUS = "SELECT status FROM scheduler_audit.runs WHERE job_id = %s"


def forbid(sql: Sql, event: str, code: str) -> None:
    sql.execute("INSERT INTO public.forbidden VALUES (%s, %s)", [event, code])


def allow(sql: Sql) -> None:
    sql.execute("TRUNCATE public.forbidden")


async def test_no_outcome_is_given_up_but_for_its_own_data(replica: Container, sql: Sql, calls: list[str]) -> None:
    sql.execute(FORBID)
    scheduler = replica.get_scheduler()
    for code in NOT_ITS_DATA:
        for delivery in ("at_least_once", "at_most_once"):
            job_id = f"forbidden-{code}-{delivery}"
            forbid(sql, "outcome", code)
            errors = scheduler.counters.write_errors
            await scheduler.add_job(once(job_id, calls, delivery=delivery))
            await eventually_async(lambda: scheduler.counters.write_errors > errors, what=f"{job_id} is refused")  # noqa: B023 - called now
            allow(sql)
            await until(sql, STATUS, "succeeded", job_id)
    assert len(calls) == len(set(calls)) == 2 * len(NOT_ITS_DATA)
    told = sql.execute("SELECT DISTINCT attempts, deliveries, reason FROM scheduler_audit.runs").fetchall()
    assert told == [(1, 0, None)]


async def test_a_start_that_is_refused_was_not_written_and_is_tried_again(
    replica: Container, sql: Sql, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, an operator's LOCK TABLE: nothing was called, and nothing is lost."""
    sql.execute(FORBID)
    for code in (*NOT_ITS_DATA, "22000"):
        job_id = f"forbidden-{code}"
        forbid(sql, "start", code)
        await replica.get_scheduler().add_job(once(job_id, calls, delivery="at_most_once"))
        await eventually_async(lambda: f"the start of run {job_id}@" in caplog.text, what=f"{job_id} waits")  # noqa: B023 - called now
        assert job_id not in calls
        allow(sql)
        await until(sql, STATUS, "succeeded", job_id)
    assert len(calls) == len(set(calls)) == len(NOT_ITS_DATA) + 1


async def test_what_is_refused_by_itself_holds_up_no_other(replica: Container, sql: Sql, calls: list[str]) -> None:
    sql.execute(FORBID)
    forbid(sql, "outcome", "P0001")
    scheduler = replica.get_scheduler()
    await scheduler.add_jobs([once("forbidden", calls), *(once(f"other-{n}", calls) for n in range(20))])
    await until(sql, "SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'", 20)
    assert scheduler.health_snapshot().outcomes_queued == 1
    await scheduler.add_job(once("later", calls))
    await until(sql, STATUS, "succeeded", "later")
    allow(sql)
    await until(sql, STATUS, "succeeded", "forbidden")
    assert calls.count("forbidden") == 1
    assert scheduler.health_snapshot().outcomes_queued == 0


def read_only(sql: Sql, command: str) -> None:
    sql.execute(SQL(command).format(Identifier(sql.info.dbname)))


async def test_a_pool_that_leads_to_a_reader_is_left(replica: Container, sql: Sql, calls: list[str]) -> None:
    """The endpoint moved, and the sockets stayed: what is read works, and what is written does not."""
    scheduler = replica.get_scheduler()
    read_only(sql, "ALTER DATABASE {} SET default_transaction_read_only = on")
    before = set(sql.execute(POOL).fetchall())
    sql.execute(END_POOL)

    # The pool comes back, as readers.
    async def is_back() -> bool:
        pids = set(sql.execute(POOL).fetchall())
        return bool(pids) and not pids & before

    await eventually_async(is_back, what="sessions that read")
    read_only(sql, "ALTER DATABASE {} RESET default_transaction_read_only")

    refusals: list[str] = []

    async def is_added() -> bool:
        try:
            await scheduler.add_job(once("j", calls))
        except ServerUnreachableError as error:
            # By a session of which this process has not heard yet that it was ended.
            refusals.append(str(error))
            return False
        return True

    await eventually_async(is_added, what="a job is added")
    assert not any("read-only" in refusal for refusal in refusals)
    await until(sql, STATUS, "succeeded", "j")
    assert calls == ["j"]
    assert sql.execute("SELECT count(*) FROM scheduler_audit.leadership").fetchone() == (1,)


async def test_a_leader_that_can_not_claim_gives_the_seat_up(replica: Container, sql: Sql, calls: list[str]) -> None:
    sql.execute(FORBID)
    forbid(sql, "claim", "53100")
    await replica.get_scheduler().add_job(once("forbidden", calls))
    await until(sql, "SELECT end_reason FROM scheduler_audit.leadership WHERE term = 1", "could not claim")
    allow(sql)
    await until(sql, STATUS, "succeeded", "forbidden")
    assert calls == ["forbidden"]
