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
from scheduler_core.domain.jobs.limit import Limit, Rate, check_rate
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import WaitingRun
from scheduler_core.storage.fire.admissions import ADMIT

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


LEADERSHIP = Leadership(1, "nonce", "me")


def waiting_runs(sql: Sql, count: int) -> list[WaitingRun]:
    """So many runs of a leader, which share a limit of two."""
    sql.execute("UPDATE scheduler.leader SET term = 1, nonce = 'nonce', instance_id = 'me'")
    waiting = []
    for number in range(count):
        run = Run(uuid4(), f"j{number}", datetime.now(UTC), datetime.now(UTC), Origin.TRIGGER, 1, 1)
        sql.execute(
            "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, term, "
            "instance_id, definition_version) VALUES (%s, %s, 'j', %s, %s, 'trigger', 'pending', 1, 'me', 1)",
            [run.run_id, run.job_id, run.scheduled_for, run.due_at],
        )
        waiting.append(WaitingRun(run, Limit("key", 2, None)))
    return waiting


GUARDS = {
    "as it is": ("", ""),
    "whatever the number": ("AND EXISTS (SELECT FROM turn)", ""),
    "what is under way not counted": ("coalesce(l.live, 0) + m.rank", "m.rank"),
}


@pytest.mark.parametrize("guard", GUARDS)
async def test_a_number_admits_once_whatever_answer_gets_lost(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """Of statements of one number, sent again because an answer got lost, one admits; and none beyond the limit."""
    without, put = GUARDS[guard]
    assert without in ADMIT
    monkeypatch.setattr("scheduler_core.storage.fire.runs.ADMIT", ADMIT.replace(without, put) if without else ADMIT)
    await container.prepare()
    runs = container.get_storage().runs
    waiting = waiting_runs(sql, 4)
    with psycopg.connect(sql.info.dsn, password=sql.info.password) as holder:
        # All have begun before the first can go on.
        holder.execute("SELECT FROM scheduler.leader FOR UPDATE")
        orders = [waiting, waiting[::-1], waiting, waiting[::-1]]
        asking = [asyncio.create_task(runs.admit(LEADERSHIP, 0, order)) for order in orders]

        async def all_wait() -> bool:
            found = sql.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            return found is not None and found[0] >= len(orders)

        await eventually_async(all_wait, what="all have begun")
        holder.rollback()
    answers = await asyncio.gather(*asking)
    again = await runs.admit(LEADERSHIP, await runs.admissions(), waiting)
    (placed,) = sql.execute("SELECT count(*) FROM scheduler.runs WHERE concurrency_key = 'key'").fetchone() or (0,)
    is_exact = placed == 2 and sorted(answer.number or 0 for answer in answers) == [0, 0, 0, 1]
    assert is_exact == (guard == "as it is")
    assert again.mine == {one.run.run_id for one in waiting}


async def test_a_place_is_free_again_once_the_row_has_ended(container: Container, sql: Sql) -> None:
    await container.prepare()
    runs = container.get_storage().runs
    waiting = waiting_runs(sql, 4)
    first = await runs.admit(LEADERSHIP, 0, waiting)
    assert first.admitted == {one.run.run_id for one in waiting[:2]}
    again = await runs.admit(LEADERSHIP, first.number or 0, waiting)
    assert again.admitted == first.admitted, "those that have a place are told so again"
    sql.execute("UPDATE scheduler.runs SET status = 'succeeded' WHERE concurrency_key = 'key'")
    more = await runs.admit(LEADERSHIP, again.number or 0, waiting)
    assert more.admitted == {one.run.run_id for one in waiting[2:]}
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


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("100/minute", "100/minute"),
        (" 5 / S ", "5/second"),
        ("10/h", "10/hour"),
        ("1/Day", "1/day"),
        ("3/min", "3/minute"),
    ],
)
def test_a_rate_is_kept_in_one_form(given: str, kept: str) -> None:
    assert check_rate(given) == kept


@pytest.mark.parametrize("given", ["100", "0/minute", "-1/s", "1/fortnight", "x/s", 5, "1.5/s", "1/"])
def test_what_is_no_rate_is_refused(given: Any) -> None:
    with pytest.raises(InvalidJobError, match="rate_limit"):
        limited("j", print, rate_limit=given)


async def test_a_rate_spends_its_time_in_one_row(container: Container, sql: Sql) -> None:
    await container.prepare()
    runs = container.get_storage().runs
    rate = Limit("key", None, Rate(3, 60))
    waiting = [WaitingRun(one.run, rate) for one in waiting_runs(sql, 5)]
    first = await runs.admit(LEADERSHIP, 0, waiting)
    assert first.admitted == {one.run.run_id for one in waiting[:3]}, "as many at once as in the whole time"
    again = await runs.admit(LEADERSHIP, first.number or 0, waiting)
    assert again.admitted == first.admitted
    ahead = sql.execute("SELECT extract(epoch FROM spent_to - clock_timestamp()) FROM scheduler.paces").fetchone()
    assert ahead is not None
    assert 55 < ahead[0] <= 60
    sql.execute("UPDATE scheduler.paces SET spent_to = spent_to - interval '20 seconds'")
    more = await runs.admit(LEADERSHIP, again.number or 0, waiting)
    assert more.admitted - first.admitted == {waiting[3].run.run_id}, "one each twenty seconds from then on"


async def test_what_exceeds_a_rate_waits_for_it(scheduler: BaseScheduler, sql: Sql) -> None:
    gauge = Gauge()
    await scheduler.add_job(limited("paced-0", gauge.work, overlap="allow", rate_limit="4/second"))
    for _ in range(8):
        await scheduler.operations.trigger("paced-0")
    await ended(sql, 8)
    span = sql.execute(
        "SELECT extract(epoch FROM max(started_at) - min(started_at)) FROM scheduler_audit.runs"
    ).fetchone()
    assert span is not None
    assert span[0] >= 0.9, "four at once, and one each quarter of a second"
