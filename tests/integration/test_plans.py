"""The plans of the hot path's statements, as Postgres has them: keys looked up, nothing walked.

An index that is read from end to end looks like an index scan in a plan and costs like the whole table, so what each
scan is given to look up is asserted as well.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from databases import load_schema, url_of
from pytest_postgresql import factories
from test_claim import plan_of, stored
from waiting import eventually_async

from scheduler_core import Container, load_settings
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import Origin, Outcome, Run, RunStatus
from scheduler_core.domain.situation import COUNTED_AT_MOST
from scheduler_core.ports.election import Leadership
from scheduler_core.storage.fire.admissions import ADMIT, admit_parameters
from scheduler_core.storage.fire.claims import CLAIM, DUE, claim_parameters, runs_of
from scheduler_core.storage.fire.offers import (
    OFFER,
    TAKE_OFFERED,
    UNFINISHED_AMONG,
    held_parameters,
    offer_parameters,
    take_parameters,
)
from scheduler_core.storage.fire.outcomes import RECORD, record_parameters
from scheduler_core.storage.fire.requests import CANCEL
from scheduler_core.storage.fire.runs import HOT_PATH_SETTINGS, RunStore
from scheduler_core.storage.fire.takeovers import (
    ADOPT,
    FIRST_OF_ALL,
    GIVE_UP_FORGOTTEN,
    OWNERS,
    PREFERRED_SUCCESSOR,
    REAP,
    adopt_parameters,
)
from scheduler_core.storage.jobs.definitions import STATES_OF
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.keys import new_run_id
from scheduler_core.storage.reads.observations import SITUATION

NOW = datetime.now(UTC).replace(microsecond=0)

MANY = """
INSERT INTO scheduler.jobs
SELECT (jsonb_populate_record(j, jsonb_build_object(
           'job_id', 'job-' || n, 'next_run', clock_timestamp() + n * interval '1 s',
           'due_at', clock_timestamp() + n * interval '1 s'))).*
FROM scheduler.jobs j, generate_series(1, 20000) AS n WHERE j.job_id = 'j';
INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version, term,
                            instance_id)
SELECT gen_random_uuid(), 'job-' || n, 'J', instant, instant, 'schedule', 'succeeded', 1, 1, 'me'
FROM generate_series(1, 20000) AS n, unnest(ARRAY[date_trunc('day', now()), date_trunc('day', now()) - interval '1 h'])
     AS instant;
ANALYZE scheduler.jobs;
ANALYZE scheduler.runs;
"""


def load_many(**server: Any) -> None:
    """Fill the template that each test's database is cloned from, statistics and all."""
    load_schema(**server)
    url = url_of(**server)

    async def declare() -> None:
        container = Container(load_settings(database_url=url, timezone="UTC"))
        await container.prepare()
        await stored(container)
        await container.close()

    asyncio.run(declare())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MANY)


full_server = factories.postgresql_noproc(load=[load_many], dbname="full")
migrated = factories.postgresql("full_server")


@pytest.fixture
async def database(container: Container, database_url: str) -> Any:
    await container.prepare()
    database = Database(database_url, settings=HOT_PATH_SETTINGS)
    yield database
    await database.close()


async def explained(database: Database, statement: str, parameters: dict[str, Any]) -> str:
    rows = await database.fetch(f"EXPLAIN {statement}", parameters)
    return "\n".join(row[0] for row in rows)


LOOK = {"ahead": 0.05, "limit": 2000, "excluding": []}


def walks(plan: str) -> list[str]:
    """What a plan reads without a key: sequential scans of jobs and runs, and scans of runs by time alone."""
    found = re.findall(r"Seq Scan on (?:jobs|runs|attempts)\S*", plan)
    for scan, condition in re.findall(r"(Index (?:Only )?Scan using \S+ on runs\S*).*\n\s+Index Cond: (.*)", plan):
        if "job_id = " not in condition and "run_id = " not in condition:
            found.append(f"{scan}: {condition}")
    return found


async def test_what_is_due_is_read_from_its_index(database: Database) -> None:
    plan = await explained(database, DUE, {**LOOK, "since": None})
    assert walks(plan) == []
    assert len(re.findall(r"Index (?:Only )?Scan using jobs_due(?:_once)? on jobs", plan)) == 3
    assert "Sort Key: jobs.due_at" not in plan


async def test_a_scrape_looks_for_what_is_overdue_at_the_old_end_of_the_index(database: Database) -> None:
    """Without a bound on the index it reads every job that is ever due: 300 ms of a million, for each scrape."""
    plan = await explained(database, SITUATION, {"overdue": 10.0, "limit": COUNTED_AT_MOST})
    assert re.search(r"Index (?:Only )?Scan using jobs_due on jobs.*\n\s+Index Cond: \(due_at < ", plan), plan
    assert "Seq Scan on jobs" not in plan


async def test_a_claim_finds_its_jobs_by_key(database: Database) -> None:
    plan = await explained(database, CLAIM, claim_parameters(Leadership(1, "n", "me"), (), (), uncallable=False))
    assert walks(plan) == []
    assert plan.count("Index Scan using jobs_pkey on jobs") == 1
    assert "hashed SubPlan" in plan


# How many of the day's 20,000 runs are there when the plan is made.
YOUNG_DAYS = {"of a full day": 20_000, "of a young day": 500, "of an empty day": 0}


@pytest.mark.parametrize("statistics", YOUNG_DAYS)
async def test_outcomes_find_their_runs_by_key(
    database: Database, sql: psycopg.Connection[Any], statistics: str
) -> None:
    """Whatever the planner believes of today's partition: the plan is made once, and the day fills up."""
    sql.execute("DELETE FROM scheduler.runs WHERE substr(job_id, 5)::int > %s", [YOUNG_DAYS[statistics]])
    sql.execute("VACUUM ANALYZE scheduler.runs")
    plan = await explained(database, RECORD, told())
    assert walks(plan) == []
    assert "Materialize" not in plan


OFFERS: dict[str, tuple[str, dict[str, Any]]] = {
    "OFFER": (OFFER, offer_parameters(Leadership(1, "n", "me"), (), "scheduler")),
    "TAKE_OFFERED": (
        TAKE_OFFERED,
        take_parameters("me", ("replicas",), ahead_seconds=0.05, limit=100, takes_alone=True, passed_over=()),
    ),
    "UNFINISHED_AMONG": (UNFINISHED_AMONG, held_parameters(())),
    "ADMIT": (ADMIT, admit_parameters(Leadership(1, "n", "me"), 0, ())),
}


@pytest.mark.parametrize("statistics", YOUNG_DAYS)
@pytest.mark.parametrize("name", OFFERS)
async def test_what_is_offered_and_admitted_is_found_by_key(
    database: Database, sql: psycopg.Connection[Any], name: str, statistics: str
) -> None:
    """But for the offers themselves, and those that a limit counts, which have indices of their own."""
    sql.execute("DELETE FROM scheduler.runs WHERE substr(job_id, 5)::int > %s", [YOUNG_DAYS[statistics]])
    sql.execute("VACUUM ANALYZE scheduler.runs")
    plan = await explained(database, *OFFERS[name])
    by_time = "COALESCE(next_attempt_at, due_at)", "concurrency_key = ANY"
    assert [scan for scan in walks(plan) if not any(condition in scan for condition in by_time)] == []


async def test_with_a_bound_the_update_would_walk_the_day(database: Database, sql: psycopg.Connection[Any]) -> None:
    """The mutant: what the statement was. Its cost grew with the history of the day."""
    sql.execute("DELETE FROM scheduler.runs")
    sql.execute("VACUUM ANALYZE scheduler.runs")
    of_its_own = "r.scheduled_for = t.scheduled_for\n      AND r.instance_id"
    assert of_its_own in RECORD
    bound = RECORD.replace(of_its_own, of_its_own.replace("\n", "\n AND r.scheduled_for >= :earliest\n"))
    assert walks(await explained(database, bound, told())) != []


async def test_the_states_of_a_few_jobs_are_read_by_key(database: Database) -> None:
    plan = await explained(database, STATES_OF, {"job_ids": ["j"]})
    assert re.findall(r"on jobs j.*\n\s+Index Cond: (.*)", plan) == ["(job_id = ANY ('{j}'::text[]))"]


AN_HEIR = {"instance_id": "me", "silence": 3.0, "passed_over": [], "since": FIRST_OF_ALL}


async def test_an_heir_is_looked_for_from_what_waits(database: Database, sql: psycopg.Connection[Any]) -> None:
    """Also where the plan was made while there was no job: a leader asks each second, and at each nudge."""
    sql.execute("DELETE FROM scheduler.jobs")
    sql.execute("VACUUM ANALYZE scheduler.jobs")
    plan = await explained(database, PREFERRED_SUCCESSOR, AN_HEIR)
    assert re.findall(r"on jobs.*\n\s+Index Cond: (.*)", plan) == ["(job_id = r_1.job_id)"] * 2
    assert plan.count(" on jobs") == 2
    assert re.findall(r"on runs_\d+ .*\n\s+Index Cond: (.*)", plan) == [f"(run_id >= '{FIRST_OF_ALL}'::uuid)"] * 5


LOCKING = {
    "RECORD": RECORD,
    "ADOPT": ADOPT,
    "REAP": REAP,
    "GIVE_UP_FORGOTTEN": GIVE_UP_FORGOTTEN,
    "CLAIM": CLAIM,
    "CANCEL": CANCEL,
}


@pytest.mark.parametrize("name", LOCKING)
async def test_no_statement_that_locks_chooses_partitions_when_it_starts(database: Database, name: str) -> None:
    """PostgreSQL 18.6 (and so perhaps others) crashes where a row that was waited for has changed meanwhile, in a
    generic plan that pruned partitions as it started: two sessions and a bound on scheduled_for bring the server down.
    """
    await database.fetch("PREPARE it AS " + numbered(database, LOCKING[name]))
    nulls = ", ".join(["NULL"] * count_of_parameters(database, LOCKING[name]))
    rows = await database.fetch(f"EXPLAIN EXECUTE it({nulls})")
    assert "Subplans Removed" not in "\n".join(row[0] for row in rows)


async def test_a_bound_would_have_them_chosen(database: Database) -> None:
    """The mutant of the above; executing it is what brings the server down."""
    bound = RECORD.replace(
        "r.scheduled_for = t.scheduled_for\n      AND",
        "r.scheduled_for = t.scheduled_for AND r.scheduled_for >= now() AND",
    )
    assert bound != RECORD
    assert "Subplans Removed" in await explained(database, bound, told())


@pytest.mark.parametrize("statement", ["record", "start"])
async def test_rows_that_change_while_they_are_waited_for(
    container: Container, database: Database, sql: psycopg.Connection[Any], statement: str
) -> None:
    run = told_runs()[0]
    sql.execute(
        "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, "
        "definition_version, term, instance_id) VALUES (%s, 'job-1', 'J', %s, %s, 'schedule', 'pending', 1, 1, 'me')",
        [str(run.run_id), NOW, NOW],
    )
    runs = container.get_storage().runs
    run = replace(run, job_id="job-1")
    running = Outcome(run, RunStatus.RUNNING, 0, started_at=NOW, attempt_started_at=NOW)
    with sql.transaction():
        sql.execute("UPDATE scheduler.jobs SET error_count = error_count + 1 WHERE job_id = 'job-1'")
        sql.execute("UPDATE scheduler.runs SET reason = 'seen' WHERE run_id = %s", [str(run.run_id)])
        works: dict[str, Any] = {
            "start": lambda: runs.start(running, "me"),
            "record": lambda: runs.record([Outcome(run, RunStatus.SUCCEEDED, 1, None, NOW, NOW)], "me"),
        }
        waiting = asyncio.create_task(works[statement]())
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        await eventually_async(lambda: one(database, blocked), what="the statement waits")
    await waiting
    status = sql.execute("SELECT status FROM scheduler.runs WHERE run_id = %s", [str(run.run_id)]).fetchone()
    assert status == ({"record": "succeeded", "start": "running"}[statement],)


async def one(database: Database, question: str) -> Any:
    row = await database.fetch_one(question)
    return row is not None and row[0]


def numbered(database: Database, statement: str) -> str:
    return database._statement(statement)[0]


def count_of_parameters(database: Database, statement: str) -> int:
    return len(set(database._statement(statement)[1]))


def told_runs() -> list[Run]:
    return [Run(new_run_id(NOW), f"job-{n}", NOW, NOW, Origin.SCHEDULE, 1, 1) for n in range(3)]


def told() -> dict[str, Any]:
    outcomes = [Outcome(run, RunStatus.SUCCEEDED, 1, None, NOW, NOW) for run in told_runs()]
    return {**record_parameters(outcomes), "instance_id": "me", "earliest": NOW}


LONG_DUE = """
UPDATE scheduler.jobs SET next_run = instant, due_at = instant
FROM (SELECT 'job-' || n AS id, clock_timestamp() - interval '5 min' + n * interval '1 ms' AS instant
      FROM generate_series(1, 200) AS n) AS due
WHERE job_id = id
"""

MOVE_CURSORS = """
UPDATE scheduler.jobs SET next_run = due_at + interval '1 s', due_at = due_at + interval '1 s'
WHERE job_id = ANY(ARRAY(SELECT 'job-' || n FROM generate_series(1, 200) AS n))
"""

OLDEST = "SELECT min(due_at) FROM scheduler.jobs WHERE job_id LIKE 'job-%'"


async def pages_of_a_look(database: Database, since: datetime | None) -> int:
    plan = await explained(database, f"(ANALYZE, BUFFERS) {DUE}", {**LOOK, "since": since})
    hit, read = (re.search(rf"^  Buffers: .*?{word}=(\d+)", plan, re.MULTILINE) for word in ("hit", "read"))
    return int(hit[1] if hit else 0) + int(read[1] if read else 0)


async def test_a_look_does_not_walk_what_an_open_transaction_keeps(
    database: Database, database_url: str, sql: psycopg.Connection[Any]
) -> None:
    """river #59: the longer a transaction stays open, the more dead entries lie below what is due."""
    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT pg_current_xact_id()")
        sql.execute(LONG_DUE)
        for _ in range(100):
            sql.execute(MOVE_CURSORS)
        (since,) = sql.execute(OLDEST).fetchone()  # type: ignore[misc]
        assert await pages_of_a_look(database, None) > 1_000
        assert await pages_of_a_look(database, since) < 150


async def pages_below(database: Database, scan: str, statement: str, parameters: dict[str, Any]) -> int:
    """What scans in the plan of a statement, which is executed, read."""
    plan = await explained(database, f"(ANALYZE, BUFFERS, TIMING OFF) {statement}", parameters)
    found = re.findall(rf"{scan} [^\n]*\(actual [^\n]*\n(?:(?!.*->).*\n)*?\s*Buffers: shared ([^\n]*)", plan)
    assert found, plan
    return sum(map(int, re.findall(r"(?:hit|read)=(\d+)", " ".join(found))))


PLACE = "SELECT CAST(ctid AS text) FROM scheduler.jobs WHERE job_id = 'j'"


async def test_a_claim_and_an_outcome_do_not_walk_the_versions_of_a_job(
    container: Container, database: Database, database_url: str, sql: psycopg.Connection[Any]
) -> None:
    """river #59: with the row's place, neither walks what an open transaction keeps of its key."""

    def place() -> tuple[int, int]:
        (told,) = sql.execute(PLACE).fetchone()  # type: ignore[misc]
        page, position = map(int, told.strip("()").split(","))
        return page, position

    sql.execute("UPDATE scheduler.leader SET term = 1, nonce = 'n', instance_id = 'me'")
    (job,) = await container.get_storage().jobs.load(["j"])
    assert isinstance(job, StoredJob)
    leadership, plan = Leadership(1, "n", "me"), plan_of(job)
    (run,) = runs_of(plan, leadership)
    outcome = Outcome(run, RunStatus.SUCCEEDED, 1, None, NOW, NOW)
    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT pg_current_xact_id()")
        for _ in range(300):
            sql.execute("UPDATE scheduler.jobs SET due_at = due_at + interval '1 us' WHERE job_id = 'j'")
        claim = claim_parameters(leadership, [plan], [[run]], False, [place()])
        assert await pages_below(database, "Tid Scan on jobs j", CLAIM, claim) <= 2
        for places, scan, most in (([place()], "Tid Scan on jobs j", 2), ([], "Index Scan using jobs_pkey on jobs", 0)):
            record = {**record_parameters([outcome], places), "instance_id": "me"}
            pages = await pages_below(database, scan, RECORD, record)
            assert pages <= most if most else pages > 10, "by key alone it walks them all"
            sql.execute("UPDATE scheduler.runs SET status = 'pending', attempt = 0 WHERE job_id = 'j'")


ENDED_SINCE = """
WITH ended AS (
    INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM instant) * 1000 AS bigint)), 12, '0') || '7' || lpad('', 19, '8')
                AS uuid), 'job-' || n, 'J', instant, instant, 'schedule', 'pending', 1
    FROM generate_series(1, 3000) AS n, LATERAL (SELECT now() - interval '30 s' + n * interval '1 ms') AS at (instant)
    RETURNING run_id
)
SELECT count(*) FROM ended
"""


async def test_no_look_for_unfinished_runs_walks_what_has_ended_while_a_transaction_is_open(
    container: Container, database: Database, database_url: str, sql: psycopg.Connection[Any]
) -> None:
    """With the mark each look begins where the unfinished runs do, and finds what was added since."""
    sql.execute("UPDATE scheduler.leader SET term = 1, nonce = 'n', instance_id = 'me', acquired_at = now()")
    runs = container.get_storage().runs
    assert isinstance(runs, RunStore)
    leadership = Leadership(1, "n", "me")

    async def walked(since: UUID) -> list[int]:
        looks = {
            ADOPT: adopt_parameters(leadership, (), 0.0, 0.0, 500, (), since),
            OWNERS: {"instance_id": "me", "since": since},
        }
        index = r"Index (?:Only )?Scan using runs_\d+_run_id_idx1 on runs_\d+ \w+"
        return [await pages_below(database, index, look, parameters) for look, parameters in looks.items()]

    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT pg_current_xact_id()")
        sql.execute(ENDED_SINCE)
        sql.execute("UPDATE scheduler.runs SET status = 'succeeded' WHERE status = 'pending'")
        assert min(await walked(FIRST_OF_ALL)) > 50, "they walk them all"
        await runs.mark_unfinished()
        assert max(await walked(runs._unfinished_since)) < 20
        triggered = await runs.trigger("j", Origin.TRIGGER)
        assert triggered is not None
        adopted = await runs.adopt(leadership, mine=[], trust_seconds=60.0, limit=10)
        assert [run.run_id for run in adopted] == [triggered.run_id]
        # Older than the mark: found once that is set anew.
        sql.execute(ENDED_SINCE.replace("3000", "1").replace("'30 s'", "'40 s'"))
        assert await runs.adopt(leadership, mine=[], trust_seconds=60.0, limit=10) == []
        await runs.mark_unfinished()
        assert len(await runs.adopt(leadership, mine=[], trust_seconds=60.0, limit=10)) == 1
    runs.unmark_unfinished()
    assert runs._unfinished_since == FIRST_OF_ALL
