"""A worker and its tickets: what it takes, and what it leaves to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, InvalidJobError, ScheduleJob, load_settings
from scheduler_core.domain.errors import WorkerDiedError
from scheduler_core.domain.runs.run import RunStatus
from scheduler_core.domain.runs.ticket import Ticket
from scheduler_core.engine.clock import boottime
from scheduler_core.engine.remote import executors
from scheduler_core.engine.remote.worker import Worker
from scheduler_core.storage.fire import runs
from scheduler_core.storage.fire.handing import TAKE

Sql = psycopg.Connection[Any]

called: list[UUID] = []
released: asyncio.Event


async def work(ctx: Any) -> None:
    """The callback of these tests."""
    called.append(ctx.run_id)
    await released.wait()


@pytest.fixture(autouse=True)
async def nothing_called() -> None:
    global released  # noqa: PLW0603 - an event belongs to the loop of one test
    called.clear()
    released = asyncio.Event()


@pytest.fixture
async def workers(container: Container, database_url: str, redis_url: str) -> AsyncIterator[list[Worker]]:
    """Two workers of the test's database, each with connections of its own."""
    await container.prepare()
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            own = Container(load_settings(database_url=database_url, redis_url=redis_url, lease_ttl=1.0))
            stack.push_async_callback(own.close)
            worker = own.make_worker(10)
            worker.allow([f"{__name__}:work"])
            await worker.start()
            stack.push_async_callback(worker.stop, 0.0)
            made.append(worker)
        yield made


RUN = """
INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version, term,
                            instance_id)
SELECT %(run_id)s, job_id, name, clock_timestamp(), clock_timestamp(), 'schedule', %(status)s, version, 7, 'leader'
FROM scheduler.jobs WHERE job_id = 'j'
"""


async def ticket_for(container: Container, sql: Sql, status: str = "pending", **policies: Any) -> Ticket:
    """A ticket of a leader of term 7 that has claimed a run."""
    job = ScheduleJob("j", "J", "once", "2099-01-01T00:00:00", f"{__name__}:work", timezone="UTC", **policies)
    await container.get_operations().declare([job.definition("UTC")])
    ticket = Ticket(uuid4(), 1, 7)
    sql.execute(RUN, {"run_id": ticket.run_id, "status": status})
    return ticket


def run_of(sql: Sql, ticket: Ticket) -> tuple[Any, ...]:
    row = sql.execute(
        "SELECT status, attempt, instance_id, term FROM scheduler.runs WHERE run_id = %s", [ticket.run_id]
    ).fetchone()
    assert row is not None
    return row


TO_ANYBODY = TAKE.replace("AND (r.status <> 'running' OR r.instance_id = :instance_id)", "")


@pytest.mark.parametrize("take", [TAKE, TO_ANYBODY], ids=["", "taken or not"])
async def test_a_ticket_that_comes_twice_is_executed_once(
    take: str, workers: list[Worker], container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "TAKE", take)
    ticket = await ticket_for(container, sql)
    first = asyncio.create_task(workers[0].execute(ticket))
    await eventually_async(lambda: len(called) == 1, what="the first call")
    again, elsewhere = asyncio.create_task(workers[0].execute(ticket)), asyncio.create_task(workers[1].execute(ticket))
    assert await again is None, "the same worker has it in hand"
    if take is TO_ANYBODY:
        await eventually_async(lambda: len(called) == 2, what="a second call: what the condition is there for")
        released.set()
        await asyncio.gather(first, elsewhere)
        return
    assert await elsewhere is None
    released.set()
    told = await first
    assert told is not None
    assert told.status is RunStatus.SUCCEEDED
    assert called == [ticket.run_id]
    assert run_of(sql, ticket) == ("succeeded", 1, workers[0].instance.instance_id, 7)
    assert await workers[1].execute(ticket) is None, "one that comes late"


@pytest.mark.parametrize(
    "spoiled",
    [lambda t: Ticket(t.run_id, 1, 6), lambda t: Ticket(t.run_id, 1, 8), lambda t: Ticket(t.run_id, 2, 7)],
    ids=["an older term", "a later term", "another attempt"],
)
async def test_a_ticket_that_is_not_this_attempts_takes_nothing(
    spoiled: Callable[[Ticket], Ticket], workers: list[Worker], container: Container, sql: Sql
) -> None:
    ticket = await ticket_for(container, sql)
    assert await workers[0].execute(spoiled(ticket)) is None
    assert run_of(sql, ticket) == ("pending", 0, "leader", 7)
    assert called == []


@pytest.mark.parametrize("status", ["succeeded", "cancelled", "lost"])
async def test_a_run_that_has_ended_is_not_taken(
    status: str, workers: list[Worker], container: Container, sql: Sql
) -> None:
    ticket = await ticket_for(container, sql, status)
    assert await workers[0].execute(ticket) is None
    assert called == []


async def test_an_answer_that_got_lost_is_asked_for_again(
    workers: list[Worker], container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has taken the attempt and does not know it: it must find its own name, not a run that is taken."""
    from scheduler_core.domain.errors import ServerUnreachableError

    store = workers[0]._storage.runs
    take, lost = store.take, []

    async def once_lost(ticket: Ticket, instance_id: str) -> Any:
        taken = await take(ticket, instance_id)
        if not lost:
            lost.append(taken)
            raise ServerUnreachableError("the connection broke")
        return taken

    monkeypatch.setattr(store, "take", once_lost)
    ticket = await ticket_for(container, sql)
    released.set()
    told = await workers[0].execute(ticket)
    assert lost[0] is not None
    assert told is not None
    assert told.status is RunStatus.SUCCEEDED
    assert called == [ticket.run_id]


@pytest.mark.parametrize("window", [True, False], ids=["", "no trust window"])
async def test_a_worker_that_was_stopped_after_it_took_a_run_begins_nothing(
    window: bool, workers: list[Worker], container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time it wakes the attempt may be lost, and made elsewhere (I7)."""
    if not window:
        monkeypatch.setattr(workers[0]._trust, "_trust_seconds", 3600.0)
    store = workers[0]._storage.runs
    take = store.take

    async def take_and_be_stopped(ticket: Ticket, instance_id: str) -> Any:
        taken = await take(ticket, instance_id)
        monkeypatch.setattr(workers[0]._trust, "_boottime", lambda: boottime() + 0.95)
        return taken

    monkeypatch.setattr(store, "take", take_and_be_stopped)
    ticket = await ticket_for(container, sql)
    released.set()
    told = await workers[0].execute(ticket)
    assert told is not None
    assert called == ([] if window else [ticket.run_id])
    assert run_of(sql, ticket)[:2] == (("pending", 0) if window else ("succeeded", 1))


async def test_a_worker_that_stops_gives_back_what_it_has_begun(
    workers: list[Worker], container: Container, sql: Sql
) -> None:
    ticket = await ticket_for(container, sql)
    task = asyncio.create_task(workers[0].execute(ticket))
    await eventually_async(lambda: called != [])
    await workers[0].stop(0.0)
    await asyncio.gather(task, return_exceptions=True)
    assert run_of(sql, ticket) == ("pending", 1, None, 7)


async def test_a_job_that_no_other_process_could_call_is_refused(container: Container) -> None:
    scheduler = await container.start()
    job = ScheduleJob("j", "J", "interval", 60, lambda: None, executor="process")
    with pytest.raises(InvalidJobError, match="top level of a module"):
        await scheduler.add_job(job)
    job = ScheduleJob("j", "J", "interval", 60, f"{__name__}:work", executor="nowhere")
    with pytest.raises(InvalidJobError, match=r"no executor 'nowhere': choose one of local, replicas, dask, process"):
        await scheduler.add_job(job)


async def test_a_row_that_names_no_executor_fails_and_says_so(container: Container, sql: Sql) -> None:
    await container.prepare()
    await ticket_for(container, sql, "succeeded", max_retries=1, retry_delay=0.05)
    sql.execute("UPDATE scheduler.jobs SET executor = 'nowhere', version = version + 1 WHERE job_id = 'j'")
    scheduler = await container.start()
    scheduler.callbacks.register(work)
    run = await scheduler.operations.trigger("j")

    def failed() -> Any:
        query = "SELECT status, error FROM scheduler_audit.runs WHERE run_id = %s AND status = 'failed'"
        return sql.execute(query, [run.run_id]).fetchone()

    _, error = await eventually_async(failed)
    assert "which replica" in error
    assert "choose one of local, replicas, dask, process" in error
    attempts = "SELECT attempt FROM scheduler_audit.attempts WHERE run_id = %s ORDER BY 1"
    assert sql.execute(attempts, [run.run_id]).fetchall() == [(1,), (2,)]


class Odd:
    """A plug-in that does what none should."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    async def start(self) -> None:
        """Nothing to start."""

    async def execute(self, ticket: Ticket) -> Any:
        if self.behaviour == "raises":
            raise KeyError("queue")
        return {"status": "succeeded"}

    async def stop(self) -> None:
        if self.behaviour == "raises":
            raise KeyError("queue")
        await asyncio.Event().wait()


@pytest.mark.parametrize("behaviour", ["raises", "returns nonsense"])
async def test_a_plug_in_that_misbehaves_fails_attempts_and_keeps_no_stop_waiting(
    behaviour: str, container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "STOP_TIMEOUT_SECONDS", 0.0)
    await container.prepare()
    await ticket_for(container, sql, "succeeded", max_retries=1, retry_delay=0.05)
    sql.execute("UPDATE scheduler.jobs SET executor = 'odd', version = version + 1 WHERE job_id = 'j'")
    scheduler = container.get_scheduler()
    odd = executors.Executors(lambda: {"odd": lambda: Odd(behaviour)})
    scheduler._parts = replace(scheduler._parts, executors=odd, drain_timeout_seconds=1.0)
    await container.start()
    scheduler.callbacks.register(work)
    run = await scheduler.operations.trigger("j")

    def failed() -> Any:
        query = "SELECT error FROM scheduler_audit.runs WHERE run_id = %s AND status = 'failed'"
        return sql.execute(query, [run.run_id]).fetchone()

    (error,) = await eventually_async(failed)
    assert ("KeyError" if behaviour == "raises" else "returned dict") in error
    attempts = "SELECT attempt FROM scheduler_audit.attempts WHERE run_id = %s ORDER BY 1"
    assert sql.execute(attempts, [run.run_id]).fetchall() == [(1,), (2,)]
    async with asyncio.timeout(30):
        await scheduler.stop()


class Deadly:
    """An executor that fails a run's first attempt, loses three workers before the second begins, and then fails it."""

    def __init__(self) -> None:
        self.tickets: list[int] = []

    async def start(self) -> None:
        """Nothing to start."""

    async def execute(self, ticket: Ticket) -> Any:
        self.tickets.append(ticket.attempt)
        if ticket.attempt == 2 and self.tickets.count(2) <= 3:
            raise WorkerDiedError("it died before it took this", "gone")
        raise KeyError("queue")

    async def stop(self) -> None:
        """Nothing to stop."""


async def test_a_run_whose_workers_die_before_they_take_it_keeps_its_count(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits a while, is charged with none of these deaths, and goes on where it stood."""
    monkeypatch.setattr("scheduler_core.engine.fire.in_flight.PASSED_OVER_SECONDS", 0.2)
    await container.prepare()
    await ticket_for(container, sql, "succeeded", max_retries=1, retry_delay=0.05)
    sql.execute("UPDATE scheduler.jobs SET executor = 'deadly', version = version + 1 WHERE job_id = 'j'")
    scheduler = container.get_scheduler()
    deadly = Deadly()
    scheduler._parts = replace(scheduler._parts, executors=executors.Executors(lambda: {"deadly": lambda: deadly}))
    await container.start()
    scheduler.callbacks.register(work)
    run = await scheduler.operations.trigger("j")
    ended = "SELECT status FROM scheduler_audit.runs WHERE run_id = %s AND finished_at IS NOT NULL"
    await eventually_async(lambda: sql.execute(ended, [run.run_id]).fetchone() == ("failed",))
    assert deadly.tickets == [1, 2, 2, 2, 2]
    assert "kept as late" not in caplog.text
    attempts = "SELECT attempt, outcome FROM scheduler_audit.attempts WHERE run_id = %s ORDER BY 1"
    assert sql.execute(attempts, [run.run_id]).fetchall() == [(1, "failed"), (2, "failed")]


SESSIONS = """
SELECT pid, query_start FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'scheduler control %'
"""


async def test_a_worker_s_session_lives_on_however_short_the_ttl(workers: list[Worker], sql: Sql) -> None:
    """The server ends a session that was silent for nearly a TTL, and with it the witness that its runs stand on."""
    statements = set()

    async def has_been_heard_for_a_while() -> bool:
        statements.update(sql.execute(SESSIONS).fetchall())
        return len(statements) >= 12 * len(workers)

    await eventually_async(has_been_heard_for_a_while, what="signs of life over two TTLs")
    assert len({pid for pid, _ in statements}) == len(workers)
