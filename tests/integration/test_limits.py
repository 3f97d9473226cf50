"""Limits that jobs share: never more than so many at once, whoever executes; in order of priority; exact."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, InvalidJobError, NotLeaderError, Origin, Run, RunContext, ScheduleJob
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import WaitingRun

Sql = psycopg.Connection[Any]


class Gauge:
    """How many calls are under way, by key, and how many there ever were at once."""

    def __init__(self) -> None:
        self.now, self.most = Counter[str](), Counter[str]()
        self.order: list[str] = []

    async def work(self, ctx: RunContext) -> None:
        key = ctx.job_id.partition("-")[0]
        self.order.append(ctx.job_id)
        self.now[key] += 1
        self.most[key] = max(self.most[key], self.now[key])
        await asyncio.sleep(0.05)
        self.now[key] -= 1


def limited(job_id: str, callback: Any, **policies: Any) -> ScheduleJob:
    """A job that runs when it is triggered."""
    return ScheduleJob(job_id, job_id, "once", "2099-01-01T00:00:00+00:00", callback, **policies)


async def ended(sql: Sql, count: int) -> None:
    async def ask() -> bool:
        found = sql.execute("SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded'").fetchone()
        return found == (count,)

    await eventually_async(ask, what=f"{count} runs have succeeded")


@pytest.mark.parametrize("executor", ["local", "replicas"])
async def test_never_more_than_the_limit_execute_at_once(scheduler: BaseScheduler, sql: Sql, executor: str) -> None:
    gauge = Gauge()
    await scheduler.add_jobs(
        [
            *(
                limited(f"api-{number}", gauge.work, executor=executor, concurrency_key="api", concurrency_limit=3)
                for number in range(10)
            ),
            limited("own-0", gauge.work, executor=executor, overlap="allow", concurrency_limit=2),
            limited("one-0", gauge.work, executor=executor, overlap="allow", concurrency_key="one"),
            limited("free-0", gauge.work, executor=executor, overlap="allow"),
        ]
    )
    for job_id in [f"api-{number}" for number in range(10)] + ["own-0", "one-0", "free-0"] * 6:
        await scheduler.operations.trigger(job_id)
    await ended(sql, 28)
    assert (gauge.most["api"], gauge.most["own"], gauge.most["one"]) == (3, 2, 1)
    assert gauge.most["free"] == 6
    keys = sql.execute("SELECT DISTINCT concurrency_key FROM scheduler.runs ORDER BY 1").fetchall()
    assert keys == [("api",), ("job:own-0",), ("one",), (None,)]


async def test_the_most_urgent_goes_first_and_says_what_it_waits_for(scheduler: BaseScheduler, sql: Sql) -> None:
    gauge = Gauge()
    policies: dict[str, Any] = {"concurrency_key": "narrow", "concurrency_limit": 1}
    await scheduler.add_jobs(
        [limited(f"p-{priority}", gauge.work, priority=priority, **policies) for priority in (9, 5, 0)]
        + [limited("first", gauge.work, **policies)]
    )
    hold = asyncio.Event()
    await scheduler.add_job(limited("holds", hold.wait, **policies))
    await scheduler.operations.trigger("holds")
    await until_status(sql, "holds", "pending")
    for job_id in ("p-9", "p-5", "p-0"):
        await scheduler.operations.trigger(job_id)
        await until_status(sql, job_id, "queued")
    reasons = sql.execute("SELECT DISTINCT reason FROM scheduler.runs WHERE status = 'queued'").fetchall()
    assert reasons == [("limit",)]
    hold.set()
    await ended(sql, 4)
    assert gauge.order == ["p-0", "p-5", "p-9"]


async def until_status(sql: Sql, job_id: str, status: str) -> None:
    async def ask() -> bool:
        found = sql.execute(
            "SELECT status, concurrency_key FROM scheduler.runs WHERE job_id = %s AND instance_id IS NOT NULL", [job_id]
        ).fetchone()
        return found is not None and (found[0] == status or (status == "pending" and found[1] is not None))

    await eventually_async(ask, what=f"{job_id} is {status}")


async def test_what_waits_for_a_place_is_cancelled_at_once(scheduler: BaseScheduler, sql: Sql) -> None:
    hold = asyncio.Event()
    policies: dict[str, Any] = {"concurrency_key": "narrow", "overlap": "allow"}
    await scheduler.add_job(limited("holds", hold.wait, **policies))
    await scheduler.operations.trigger("holds")
    await until_status(sql, "holds", "pending")
    waiting = await scheduler.operations.trigger("holds")

    async def is_queued() -> bool:
        return bool(sql.execute("SELECT 1 FROM scheduler.runs WHERE status = 'queued'").fetchone())

    await eventually_async(is_queued)
    await scheduler.run_operations.cancel(waiting.run_id, "alice")
    await eventually_async(lambda: len(scheduler.running.in_flight) == 1, what="it is let go of")
    hold.set()
    await ended(sql, 1)


async def test_a_number_admits_once_whatever_answer_gets_lost(container: Container, sql: Sql) -> None:
    """Of two statements of one number, the second sent because the answer to the first got lost, one admits."""
    await container.prepare()
    runs = container.get_storage().runs
    leadership = Leadership(1, "nonce", "me")
    sql.execute("UPDATE scheduler.leader SET term = 1, nonce = 'nonce', instance_id = 'me'")
    waiting = []
    for number in range(4):
        run = Run(uuid4(), f"j{number}", datetime.now(UTC), datetime.now(UTC), Origin.TRIGGER, 1, 1)
        sql.execute(
            "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, term, "
            "instance_id, definition_version) VALUES (%s, %s, 'j', %s, %s, 'trigger', 'pending', 1, 'me', 1)",
            [run.run_id, run.job_id, run.scheduled_for, run.due_at],
        )
        waiting.append(WaitingRun(run, "key", 2))
    answers = await asyncio.gather(
        *(runs.admit(leadership, 0, order) for order in (waiting, waiting[::-1]) for _ in "ab")
    )
    admitted = {run_id for answer in answers for run_id in answer.admitted}
    assert len(admitted) == 2
    assert sorted(answer.number or 0 for answer in answers) == [0, 0, 0, 1]
    assert sql.execute("SELECT count(*) FROM scheduler.runs WHERE concurrency_key = 'key'").fetchone() == (2,)
    again = await runs.admit(leadership, await runs.admissions(), waiting)
    assert again.admitted == admitted, "those that have a place are told so again"
    assert again.mine == {one.run.run_id for one in waiting}
    sql.execute("UPDATE scheduler.runs SET status = 'succeeded' WHERE concurrency_key = 'key'")
    assert again.number is not None
    more = await runs.admit(leadership, again.number, waiting)
    assert len(more.admitted) == 2
    assert not more.admitted & admitted
    with pytest.raises(NotLeaderError, match="nothing was admitted"):
        await runs.admit(Leadership(1, "another", "me"), await runs.admissions(), waiting)


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ({"concurrency_limit": 0}, "concurrency_limit"),
        ({"concurrency_limit": 1.5}, "concurrency_limit"),
        ({"concurrency_key": ""}, "concurrency_key"),
        ({"priority": 10}, "priority"),
        ({"priority": -1}, "priority"),
    ],
)
def test_what_is_no_limit_is_refused(policies: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidJobError, match=says):
        limited("j", print, **policies)
