"""The fenced claim, on real Postgres; and the same claim with a guard taken away, which must let harm happen."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from scheduler_core import Container, ScheduleJob
from scheduler_core.domain.errors import NotLeaderError, ServerUnreachableError
from scheduler_core.domain.planning.planning import Fire, Plan, StoredJob
from scheduler_core.domain.runs.run import Outcome, RunStatus
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import Recorded
from scheduler_core.storage.fire import runs as runs_module

NONCE = "n" * 32


@pytest.fixture
async def leader(container: Container, sql: psycopg.Connection[Any]) -> AsyncIterator[Leadership]:
    """The row of a leader, without the leader: the statements are on trial here, not the election."""
    await container.prepare()
    sql.execute("UPDATE scheduler.leader SET term = 7, nonce = %s, instance_id = 'me'", [NONCE])
    return Leadership(7, NONCE, "me")


async def stored(container: Container, job_id: str = "j") -> StoredJob:
    job = ScheduleJob(job_id, "J", "interval", 60, "app:f")
    await container.get_operations().declare([job.definition("UTC")])
    (found,) = await container.get_storage().jobs.load([job_id])
    assert isinstance(found, StoredJob)
    return found


def plan_of(job: StoredJob, count: int = 1) -> Plan:
    assert job.next_run is not None
    instants = [job.next_run + timedelta(seconds=60 * n) for n in range(count)]
    return Plan(job, tuple(Fire(i, i) for i in instants), (), instants[-1] + timedelta(seconds=60), instants[-1])


async def test_a_claim_moves_the_cursor_and_inserts_the_runs(container: Container, leader: Leadership) -> None:
    job = await stored(container)
    claimed = await container.get_storage().runs.claim(leader, [plan_of(job, 3)], uncallable=False)
    assert len(claimed.runs) == 3
    (after,) = await container.get_storage().jobs.load(["j"])
    assert isinstance(after, StoredJob)
    assert after.next_run == job.next_run + timedelta(seconds=180)  # type: ignore[operator]


@pytest.mark.parametrize("stale", [{"term": 6}, {"nonce": "x" * 32}])
async def test_a_stale_term_changes_nothing(
    container: Container, leader: Leadership, sql: psycopg.Connection[Any], stale: dict[str, Any]
) -> None:
    """I2. oban #1488, a renewal that matched on a name."""
    job = await stored(container)
    with pytest.raises(NotLeaderError):
        await container.get_storage().runs.claim(replace(leader, **stale), [plan_of(job)], uncallable=False)
    assert sql.execute("SELECT count(*) FROM scheduler.runs").fetchone() == (0,)
    assert sql.execute("SELECT next_run FROM scheduler.jobs").fetchone() == (job.next_run,)


async def test_a_plan_that_lost_to_an_operator_leaves_the_others_alone(
    container: Container, leader: Leadership, sql: psycopg.Connection[Any]
) -> None:
    one, two = await stored(container, "one"), await stored(container, "two")
    sql.execute("UPDATE scheduler.jobs SET version = version + 1 WHERE job_id = 'one'")
    claimed = await container.get_storage().runs.claim(leader, [plan_of(one), plan_of(two)], uncallable=False)
    assert claimed.moved_job_ids == {"two"}
    assert [run.job_id for run in claimed.runs] == ["two"]


async def test_a_row_that_is_there_already_never_stops_a_batch(
    container: Container, leader: Leadership, sql: psycopg.Connection[Any]
) -> None:
    """I3: the cursor moves on, and nothing fires twice."""
    job = await stored(container)
    claim = container.get_storage().runs.claim
    await claim(leader, [plan_of(job)], uncallable=False)
    sql.execute("UPDATE scheduler.jobs SET next_run = %s", [job.next_run])
    again = await claim(leader, [plan_of(job, 2)], uncallable=False)
    assert again.moved_job_ids == {"j"}
    assert [run.scheduled_for for run in again.runs] == [job.next_run + timedelta(seconds=60)]  # type: ignore[operator]


async def test_a_day_without_a_partition_is_made_and_claimed(container: Container, leader: Leadership) -> None:
    """pg_partman #678 and its like: inserts crash when nobody made tomorrow's partition."""
    job = await stored(container)
    far = job.next_run + timedelta(days=400)  # type: ignore[operator]
    plan = replace(plan_of(job), fires=(Fire(far, far),))
    claimed = await container.get_storage().runs.claim(leader, [plan], uncallable=False)
    assert [run.scheduled_for for run in claimed.runs] == [far]


MUTANTS = {
    "as it is": (lambda sql: sql, "refused"),
    "no lock": (lambda sql: sql.replace(" FOR SHARE", "", 1), "committed"),
    "key share": (lambda sql: sql.replace(" FOR SHARE", " FOR KEY SHARE", 1), "committed"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_zombie_can_not_commit_beside_its_successor(
    container: Container,
    leader: Leadership,
    sql: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    mutant: str,
) -> None:
    """The successor's claim of the term is under way when the zombie claims. With FOR SHARE the zombie waits and is
    refused; without it, or with FOR KEY SHARE, it commits beside the new term: the fence is what holds it.
    """
    change, expected = MUTANTS[mutant]
    monkeypatch.setattr(runs_module, "CLAIM", change(runs_module.CLAIM))
    job = await stored(container)
    with psycopg.connect(database_url) as successor:
        successor.execute("UPDATE scheduler.leader SET term = 8, nonce = 'successor', instance_id = 'it'")
        zombie = asyncio.create_task(container.get_storage().runs.claim(leader, [plan_of(job)], uncallable=False))
        if expected == "refused":
            await _until_it_waits(sql, zombie)
        else:
            await asyncio.wait_for(asyncio.shield(zombie), 10)
        successor.commit()
    if expected == "refused":
        with pytest.raises(NotLeaderError):
            await zombie
        assert sql.execute("SELECT count(*) FROM scheduler.runs").fetchone() == (0,)
    else:
        assert len((await zombie).runs) == 1


async def _until_it_waits(sql: psycopg.Connection[Any], zombie: asyncio.Task[Any]) -> None:
    for _ in range(500):
        # Not just any lock: other sessions wait for a leader's witness.
        waiting = sql.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event <> 'advisory' "
            "AND datname = current_database()"
        ).fetchone()
        if waiting != (0,):
            return
        assert not zombie.done(), "the claim did not wait for the successor"
        await asyncio.sleep(0.01)
    raise AssertionError("the claim never waited")


async def test_a_claim_whose_reply_got_lost_still_fires(
    container: Container, leader: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server committed, the connection broke: what was won is read again, by its run ids."""
    job = await stored(container)
    runs = container.get_storage().runs
    fetch = runs._fetch  # type: ignore[attr-defined]

    async def lose_one_reply(statement: str, parameters: Any) -> Any:
        rows = await fetch(statement, parameters)
        if statement is runs_module.CLAIM:
            raise ServerUnreachableError("the reply got lost")
        return rows

    monkeypatch.setattr(runs, "_fetch", lose_one_reply)
    claimed = await runs.claim(leader, [plan_of(job, 2)], uncallable=False)
    assert len(claimed.runs) == 2
    assert claimed.moved_job_ids == {"j"}


async def test_runs_of_ones_own_that_nobody_has_in_hand_are_adopted_once_no_reply_can_come(
    container: Container, leader: Leadership, sql: psycopg.Connection[Any]
) -> None:
    job = await stored(container)
    runs = container.get_storage().runs
    (in_hand, forgotten) = (await runs.claim(leader, [plan_of(job, 2)], uncallable=False)).runs
    adopt = functools.partial(runs.adopt, leader, mine=[in_hand.run_id], trust_seconds=0.0, limit=10)
    assert await adopt() == [], "the reply may still be on its way"
    sql.execute("UPDATE scheduler.runs SET created_at = created_at - interval '1 minute'")
    assert [run.run_id for run in await adopt()] == [forgotten.run_id]


RECORD_GUARD = "AND r.instance_id = :instance_id AND r.term = t.term"
RECORD_MUTANTS = {"as it is": ("", "running"), "no owner": (RECORD_GUARD, "succeeded")}


@pytest.mark.parametrize("mutant", RECORD_MUTANTS)
async def test_a_late_outcome_overwrites_nothing_and_is_kept(
    container: Container,
    leader: Leadership,
    sql: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    mutant: str,
) -> None:
    """I5: the run was taken over and begun again; what its former owner reports comes too late."""
    removed, status = RECORD_MUTANTS[mutant]
    assert RECORD_GUARD in runs_module.RECORD
    if removed:
        monkeypatch.setattr(runs_module, "RECORD", runs_module.RECORD.replace(removed, ""))
    runs = container.get_storage().runs
    (run,) = (await runs.claim(leader, [plan_of(await stored(container))], uncallable=False)).runs
    sql.execute("UPDATE scheduler.runs SET instance_id = 'successor', term = 8, status = 'running'")
    now = run.scheduled_for
    recorded = await runs.record([Outcome(run, RunStatus.SUCCEEDED, 1, started_at=now, finished_at=now)], "me")
    assert sql.execute("SELECT status FROM scheduler.runs").fetchone() == (status,)
    if not removed:
        assert recorded.late == {run.run_id}
        kept = sql.execute("SELECT outcome, term, instance_id, late FROM scheduler.attempts").fetchall()
        assert kept == [("succeeded", 7, "me", True)]


async def test_a_note_that_a_run_is_queued_never_undoes_its_durable_start(
    container: Container, leader: Leadership, sql: psycopg.Connection[Any]
) -> None:
    """The note waits for its batch and the start for nobody: written last, it made the dead's run one to call again."""
    job = await stored(container)
    runs = container.get_storage().runs
    claimed = await runs.claim(leader, [plan_of(job)], uncallable=False)
    (run,) = claimed.runs
    now = run.due_at
    assert await runs.start(Outcome(run, RunStatus.RUNNING, 0, started_at=now, attempt_started_at=now), "me")
    assert await runs.record([Outcome(run, RunStatus.QUEUED, 0)], "me") == Recorded()
    assert sql.execute("SELECT status, started_at FROM scheduler.runs").fetchone() == ("running", now)


async def test_an_outcome_that_is_sent_twice_at_the_same_moment_is_recorded_once_and_never_late(
    container: Container, leader: Leadership, sql: psycopg.Connection[Any], database_url: str
) -> None:
    """The first statement's reply got lost while it waited for a lock; its twin waits behind it, and then sees the
    row as it was before: it must not take that for a run that somebody else took over.
    """
    runs = container.get_storage().runs
    (run,) = (await runs.claim(leader, [plan_of(await stored(container))], uncallable=False)).runs
    now = run.scheduled_for
    outcome = Outcome(run, RunStatus.SUCCEEDED, 1, started_at=now, finished_at=now)
    with psycopg.connect(database_url) as operator:
        operator.execute("SELECT FROM scheduler.jobs FOR UPDATE")
        twins = [asyncio.create_task(runs.record([outcome], "me")) for _ in range(2)]
        for twin in twins:
            await _until_it_waits(sql, twin)
        await asyncio.wait(twins, timeout=0.5)
        operator.rollback()
    recorded = await asyncio.gather(*twins)
    assert not any(each.late for each in recorded)
    assert await runs.record([outcome], "me") == Recorded(), "asked again, it is there"
    assert sql.execute("SELECT run_count FROM scheduler.jobs").fetchone() == (1,)
    assert sql.execute("SELECT count(*) FROM scheduler.attempts").fetchone() == (0,)


IN_ORDER = "    ORDER BY job_id\n"


@pytest.mark.parametrize(("statement", "mutant"), [("claim", False), ("record", False), ("record", True)])
async def test_jobs_are_locked_in_one_order(
    container: Container,
    leader: Leadership,
    sql: psycopg.Connection[Any],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    mutant: bool,
) -> None:
    """Who waits for a job holds none that comes after it, or claim and outcome deadlock. By code point: B before a."""
    runs = container.get_storage().runs
    plans = [plan_of(await stored(container, job_id)) for job_id in ("a", "B")]
    if statement == "record":
        claimed = (await runs.claim(leader, plans, uncallable=False)).runs
        outcomes = [Outcome(run, RunStatus.SUCCEEDED, 1, None, run.due_at, run.due_at) for run in claimed]
    assert IN_ORDER in runs_module.RECORD
    if mutant:
        monkeypatch.setattr(runs_module, "RECORD", runs_module.RECORD.replace(IN_ORDER, "    ORDER BY job_id DESC\n"))
    with psycopg.connect(database_url) as operator:
        operator.execute("SELECT FROM scheduler.jobs WHERE job_id = 'B' FOR UPDATE")
        working: asyncio.Task[Any] = asyncio.create_task(
            runs.claim(leader, plans, uncallable=False) if statement == "claim" else runs.record(outcomes, "me")
        )
        await _until_it_waits(sql, working)
        free = sql.execute("SELECT job_id FROM scheduler.jobs FOR UPDATE SKIP LOCKED").fetchall()
        operator.rollback()
    await working
    assert free == ([] if mutant else [("a",)])


async def test_a_job_that_changes_while_a_claim_waits_for_it_is_left_alone(
    container: Container, leader: Leadership, sql: psycopg.Connection[Any], database_url: str
) -> None:
    plans = [plan_of(await stored(container, job_id)) for job_id in ("one", "two")]
    with psycopg.connect(database_url) as operator:
        operator.execute("UPDATE scheduler.jobs SET version = version + 1 WHERE job_id = 'one'")
        claiming = asyncio.create_task(container.get_storage().runs.claim(leader, plans, uncallable=False))
        await _until_it_waits(sql, claiming)
        operator.commit()
    claimed = await claiming
    assert (claimed.moved_job_ids, [run.job_id for run in claimed.runs]) == ({"two"}, ["two"])
    assert sql.execute("SELECT job_id FROM scheduler.runs").fetchall() == [("two",)]


ENDS = {"one": RunStatus.SUCCEEDED, "two": RunStatus.FAILED}


@pytest.mark.parametrize("moves", ["before", "meanwhile", "to another's place"])
@pytest.mark.parametrize("statement", ["claim", "record"])
async def test_a_job_whose_row_lies_elsewhere_is_found_by_key(
    container: Container,
    leader: Leadership,
    sql: psycopg.Connection[Any],
    database_url: str,
    statement: str,
    moves: str,
) -> None:
    """Where a row lay is a hint: no cursor and no count is lost with it, and no other job's row is taken for it."""
    runs = container.get_storage().runs
    plans = [plan_of(await stored(container, job_id), count) for job_id, count in (("one", 1), ("two", 2))]
    await runs.mark_unfinished()
    await runs.due(ahead_seconds=3_600.0, limit=10, excluding=[])
    work: Callable[[], Awaitable[Any]]
    if statement == "claim":
        work = functools.partial(runs.claim, leader, plans, uncallable=False)
    else:
        claimed = (await runs.claim(leader, plans, uncallable=False)).runs
        outcomes = [Outcome(run, ENDS[run.job_id], 1, None, run.due_at, run.due_at) for run in claimed]
        work = functools.partial(runs.record, outcomes, "me")
    assert len(runs._places) == 2, "both are known, or nothing is tried here"  # type: ignore[attr-defined]
    move = "UPDATE scheduler.jobs SET error_count = error_count + 1 WHERE job_id = 'one'"
    if moves == "before":
        sql.execute(move)
        await work()
    elif moves == "to another's place":
        places = runs._places.take(["two", "one"])  # type: ignore[attr-defined]
        runs._places.remember(["one", "two"], places)  # type: ignore[attr-defined]
        await work()
    else:
        with psycopg.connect(database_url) as somebody:
            somebody.execute(move)
            working = asyncio.ensure_future(work())
            await _until_it_waits(sql, working)
            somebody.commit()
        await working
    told = sql.execute("SELECT job_id, next_run, run_count, last_status FROM scheduler.jobs ORDER BY job_id").fetchall()
    ended = statement == "record"
    assert told == [
        ("one", plans[0].next_run, 1 if ended else 0, ENDS["one"].value if ended else None),
        ("two", plans[1].next_run, 2 if ended else 0, ENDS["two"].value if ended else None),
    ]
    moved = sql.execute("SELECT error_count FROM scheduler.jobs WHERE job_id = 'one'").fetchone()
    assert moved == (0 if moves == "to another's place" else 1,), "what else was written stays"
    assert sql.execute("SELECT count(*) FROM scheduler.runs").fetchone() == (3,)
