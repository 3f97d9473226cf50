"""Alarms on real servers: found by any replica, stored once, whoever leads and whoever dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest
from commands import Command
from receiver import SECRET, Receiver, free_port, receiving
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.domain.alerts.decision import decide
from scheduler_core.storage.alerts import alarms as alarms_module
from scheduler_core.storage.alerts.alarms import AlarmStore

Sql = psycopg.Connection[Any]
Made = Callable[..., Awaitable[Container]]

OPEN = "SELECT kind, job_id, failed_runs FROM scheduler_audit.alarms WHERE closed_at IS NULL ORDER BY kind, job_id"
CLOSED = "SELECT kind, job_id, closed_why FROM scheduler_audit.alarms WHERE closed_at IS NOT NULL ORDER BY alarm_id"


async def work() -> None: ...


def fail() -> None:
    raise ConnectionError("no")


@pytest.fixture
async def started(database_url: str, redis_url: str) -> AsyncIterator[Made]:
    """Replicas in this process that look five times a second."""
    made: list[Container] = []

    async def make(receiver: Receiver | None = None, **settings: Any) -> Container:
        webhook = {} if receiver is None else {"webhook_url": receiver.url, "webhook_secret": SECRET}
        given = {"alarm_interval": 0.2, "overdue_after": 1.0, "lease_ttl": 1.0, "drain_timeout": 1.0, "timezone": "UTC"}
        container = Container(
            load_settings(database_url=database_url, redis_url=redis_url, **(given | webhook | settings))
        )
        made.append(container)
        await container.start()
        return container

    yield make
    await asyncio.gather(*(container.close() for container in made))


async def declare(container: Container, *jobs: ScheduleJob) -> None:
    await container.get_operations().declare([job.definition("UTC") for job in jobs])


def make_late(sql: Sql, job_id: str = "j", seconds: int = 3600) -> None:
    sql.execute(
        "UPDATE scheduler.jobs SET next_run = next_run - make_interval(secs => %(s)s), "
        "due_at = due_at - make_interval(secs => %(s)s) WHERE job_id = %(id)s",
        {"s": seconds, "id": job_id},
    )


def note_failure(sql: Sql, job_id: str) -> None:
    """A run that failed, as a replica records it."""
    sql.execute(
        "WITH run AS (INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, "
        "attempt, definition_version, error) SELECT gen_random_uuid(), %(id)s, 'J', clock_timestamp(), "
        "clock_timestamp(), 'trigger', 'failed', 1, 1, 'E: x' RETURNING *) "
        "INSERT INTO scheduler.attempts (run_id, job_id, scheduled_for, attempt, outcome, term, instance_id) "
        "SELECT run_id, job_id, scheduled_for, 1, 'failed', 1, 'x' FROM run",
        {"id": job_id},
    )


async def has(sql: Sql, query: str, *rows: tuple[Any, ...]) -> None:
    await eventually_async(lambda: sql.execute(query).fetchall() == list(rows), what=f"{query} → {rows}")


def stores(container: Container, *names: str) -> list[AlarmStore]:
    return [AlarmStore(container.get_database(), name, delivers=True) for name in names]


# What is found.


async def test_a_failed_run_is_an_alarm_until_one_succeeds(started: Made, sql: Sql) -> None:
    """And is told: failure, then recovery, in this order and once each."""
    healthy = asyncio.Event()

    async def flaky() -> None:
        if not healthy.is_set():
            raise ConnectionError("the warehouse does not answer")

    with receiving() as receiver:
        scheduler = (await started(receiver)).get_scheduler()
        await scheduler.add_job(ScheduleJob("j", "J", "interval", 0.3, flaky, max_retries=0))
        await eventually_async(lambda: receiver.of("failure"))
        healthy.set()
        await eventually_async(lambda: receiver.of("recovery"))
        await has(sql, CLOSED, ("failure", "j", "a run succeeded"))
        assert sql.execute(OPEN).fetchall() == []
        (failure,), (recovery,) = receiver.of("failure"), receiver.of("recovery")
        assert failure.document["text"] == "job j failed: ConnectionError: the warehouse does not answer"
        assert failure.document["data"]["jobs"][0]["run_id"]
        assert recovery.document["data"]["jobs"][0]["of"] == "failure"
        assert [e for e in receiver.events() if e != "takeover"] == ["failure", "recovery"]
        failures = sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = 'failed'").fetchone()
        assert sql.execute("SELECT failed_runs FROM scheduler_audit.alarms").fetchone() == failures, "each is counted"


async def test_an_attempt_that_is_tried_again_is_no_alarm(started: Made, sql: Sql) -> None:
    tries: list[int] = []

    def second_time() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("not yet")

    container = await started()
    job = ScheduleJob("j", "J", "once", None, second_time, max_retries=3, retry_delay=0.05)
    await container.get_scheduler().add_job(job)
    await eventually_async(lambda: sql.execute("SELECT 1 FROM scheduler.runs WHERE status = 'succeeded'").fetchone())
    assert sql.execute("SELECT count(*) FROM scheduler.attempts").fetchone() == (1,)
    seen = (await container.get_alarms().watch())["version"]

    async def looked_twice() -> bool:
        return bool((await container.get_alarms().watch())["version"] >= seen + 2)

    await eventually_async(looked_twice)
    # On a machine that is busy it may have been overdue for a moment.
    assert sql.execute("SELECT count(*) FROM scheduler.alarms WHERE kind <> 'overdue'").fetchone() == (0,)


async def test_a_failure_that_nobody_noticed_as_the_job_is_well_again(container: Container, sql: Sql) -> None:
    """A run failed and the next succeeded between two looks: still told, because the run itself is remembered."""
    await container.start()
    healthy = asyncio.Event()

    async def flaky() -> None:
        if not healthy.is_set():
            healthy.set()
            raise ConnectionError("once")

    await container.get_scheduler().add_job(ScheduleJob("j", "J", "interval", 0.2, flaky, max_retries=0))
    await eventually_async(
        lambda: sql.execute("SELECT 1 FROM scheduler.jobs WHERE last_status = 'succeeded'").fetchone()
    )
    assert sql.execute("SELECT consecutive_failures FROM scheduler.jobs").fetchone() == (0,)
    await has(sql, "SELECT kind, failed_runs FROM scheduler.alarms", ("failure", 1))


async def test_a_job_that_is_disabled_is_an_alarm_until_it_is_enabled(started: Made, sql: Sql) -> None:
    with receiving() as receiver:
        container = await started(receiver)
        await container.get_scheduler().add_job(
            ScheduleJob("j", "J", "interval", 0.2, fail, max_retries=0, disable_after=2)
        )
        await eventually_async(lambda: receiver.of("disabled"))
        await container.get_operations().resume("j")
        # However soon it is disabled again: perhaps before anybody has looked.
        await eventually_async(
            lambda: any(job["of"] == "disabled" for r in receiver.of("recovery") for job in r.document["data"]["jobs"])
        )
        await eventually_async(lambda: len(receiver.of("disabled")) == 2)


async def test_a_job_is_overdue_though_nobody_leads(started: Made, sql: Sql) -> None:
    """sidekiq #3163, dead for four days, unnoticed. The only replica may not lead, and raises it anyway."""
    with receiving() as receiver:
        container = await started(receiver, eligible=False)
        await declare(container, ScheduleJob("j", "J", "interval", 3600, "app:f"))
        make_late(sql, seconds=3605)
        await eventually_async(lambda: receiver.of("overdue"))
        (told,) = receiver.of("overdue")
        assert told.document["text"].startswith("job j is overdue by ")
        assert told.document["data"]["jobs"][0]["overdue_seconds"] >= 1
        assert sql.execute("SELECT term FROM scheduler.leader").fetchone() == (0,), "nobody ever led"
        make_late(sql, seconds=-7200)
        await eventually_async(lambda: receiver.of("recovery"))
        await has(sql, CLOSED, ("overdue", "j", "it is not overdue any more"))
        assert len(receiver.of("overdue")) == 1


async def test_a_run_that_nobody_can_call_is_overdue(started: Made, sql: Sql) -> None:
    """river #342. The leader has claimed it, and no replica has its callback."""
    container = await started()
    await declare(container, ScheduleJob("j", "J", "once", None, "nowhere:function"))
    await has(sql, "SELECT kind, detail FROM scheduler.alarms", ("overdue", "no replica can call its callback"))
    await container.get_operations().remove("j")
    await has(sql, CLOSED, ("overdue", "j", "the job was removed"))


@pytest.mark.parametrize("how", ["paused", "disabled", "finished", "a hand edit"])
async def test_a_job_that_is_not_to_fire_is_not_overdue(container: Container, sql: Sql, how: str) -> None:
    await container.prepare()
    await declare(container, ScheduleJob("j", "J", "interval", 3600, "app:f"))
    make_late(sql, seconds=7200)
    if how == "paused":
        await container.get_operations().pause("j")
    else:
        change = {
            "disabled": "enabled = false",
            "finished": "next_run = NULL, due_at = NULL, finished_at = clock_timestamp()",
            "a hand edit": "due_at = '-infinity'",
        }[how]
        sql.execute(f"UPDATE scheduler.jobs SET {change}")
    look = await container.get_alarms().look(overdue_seconds=1, fresh_seconds=0)
    assert look is not None
    assert look.facts.late == []


async def test_backfills_and_what_waits_its_turn_are_not_overdue(container: Container, sql: Sql) -> None:
    await container.prepare()
    await declare(container, ScheduleJob("j", "J", "interval", 3600, "app:f"))
    row = (
        "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, "
        "definition_version, next_attempt_at) SELECT gen_random_uuid(), 'j', 'J', clock_timestamp(), "
        "clock_timestamp() - interval '1 h', %s, %s, 1, clock_timestamp() + %s::interval"
    )
    sql.execute(row, ["backfill", "pending", None])
    sql.execute(row, ["schedule", "queued", None])
    sql.execute(row, ["schedule", "running", None])
    sql.execute(row, ["schedule", "retrying", "1 min"])
    look = await container.get_alarms().look(overdue_seconds=60, fresh_seconds=0)
    assert look is not None
    assert look.facts.late == []
    sql.execute(row, ["trigger", "pending", None])
    look = await container.get_alarms().look(overdue_seconds=60, fresh_seconds=0)
    assert look is not None
    assert [late.job_id for late in look.facts.late] == ["j"]


# Stored once.


async def test_of_two_that_look_at_once_one_tells(container: Container, sql: Sql) -> None:
    await container.prepare()
    await declare(container, ScheduleJob("j", "J", "interval", 3600, "app:f"))
    make_late(sql, seconds=7200)
    both = stores(container, "a", "b")
    looks = [await store.look(overdue_seconds=1, fresh_seconds=0) for store in both]
    stored = await asyncio.gather(*(s.store(look, decide(look.facts)) for s, look in zip(both, looks, strict=True)))  # type: ignore[union-attr]
    assert sorted(s.applied for s in stored) == [False, True]
    assert sql.execute("SELECT count(*) FROM scheduler.notifications").fetchone() == (1,)
    assert sql.execute("SELECT count(*) FROM scheduler.alarms").fetchone() == (1,)


GUARD = "    WHERE w.version = :version\n"


async def test_without_the_version_both_would_tell(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the test above can be taken away, and then the same is told twice."""
    assert GUARD in alarms_module.STORE
    monkeypatch.setattr(alarms_module, "STORE", alarms_module.STORE.replace(GUARD, ""))
    await container.prepare()
    await declare(container, ScheduleJob("j", "J", "interval", 3600, "app:f"))
    make_late(sql, seconds=7200)
    both = stores(container, "a", "b")
    looks = [await store.look(overdue_seconds=1, fresh_seconds=0) for store in both]
    for store, look in zip(both, looks, strict=True):
        assert look is not None
        await store.store(look, decide(look.facts))
    assert sql.execute("SELECT count(*) FROM scheduler.notifications").fetchone() == (2,)


async def test_one_that_died_between_looking_and_storing_has_changed_nothing(container: Container, sql: Sql) -> None:
    await container.start()
    await container.get_scheduler().add_job(ScheduleJob("j", "J", "once", None, fail, max_retries=0))
    await has(sql, OPEN, ("failure", "j", 1))
    await container.stop()
    sql.execute("DELETE FROM scheduler.alarms")
    note_failure(sql, "j")
    dead, living = stores(container, "dead", "living")
    first = await dead.look(overdue_seconds=60, fresh_seconds=0)
    second = await living.look(overdue_seconds=60, fresh_seconds=0)
    assert first is not None
    assert second is not None
    assert (await living.store(second, decide(second.facts))).applied
    assert not (await dead.store(first, decide(first.facts))).applied
    assert sql.execute(OPEN).fetchall() == [("failure", "j", 1)]
    assert sql.execute("SELECT count(*) FROM scheduler.failed_attempts").fetchone() == (0,)


async def test_whoever_comes_soon_after_another_does_not_look_again(container: Container) -> None:
    await container.prepare()
    first, second = stores(container, "a", "b")
    look = await first.look(overdue_seconds=60, fresh_seconds=60)
    assert look is not None
    assert (await first.store(look, decide(look.facts))).applied
    assert await second.look(overdue_seconds=60, fresh_seconds=60) is None
    assert await second.look(overdue_seconds=60, fresh_seconds=0) is not None


async def test_the_watch_goes_on_when_somebody_deletes_its_row(container: Container, sql: Sql) -> None:
    await container.prepare()
    sql.execute(
        "INSERT INTO scheduler.leader_terms (term, instance_id, host, acquired_at, ended_at, end_reason) VALUES "
        "(1, 'a', 'h', clock_timestamp(), clock_timestamp(), 'witness fell'), "
        "(2, 'b', 'h', clock_timestamp(), NULL, NULL)"
    )
    (store,) = stores(container, "a")
    for _ in range(2):
        look = await store.look(overdue_seconds=60, fresh_seconds=0)
        assert look is not None
        assert look.facts.takeovers == [], "what was before the watch is told to nobody"
        assert (await store.store(look, decide(look.facts))).applied
        sql.execute("DELETE FROM scheduler.alarm_watch")


async def test_a_hundred_thousand_late_jobs_cost_one_message(container: Container, sql: Sql) -> None:
    await container.prepare()
    await declare(container, ScheduleJob("j", "J", "interval", 3600, "app:f"))
    make_late(sql, seconds=7200)
    sql.execute(
        "INSERT INTO scheduler.jobs SELECT (jsonb_populate_record(j, jsonb_build_object('job_id', 'j' || n))).* "
        "FROM scheduler.jobs j, generate_series(1, 5000) AS n"
    )
    (store,) = stores(container, "a")
    for _ in range(2):
        look = await store.look(overdue_seconds=1, fresh_seconds=0)
        assert look is not None
        assert len(look.facts.late) == alarms_module.MAX_LATE
        assert (await store.store(look, decide(look.facts))).applied
    assert sql.execute("SELECT count(*) FROM scheduler.alarms").fetchone() == (alarms_module.MAX_LATE,)
    assert sql.execute("SELECT body -> 'data' ->> 'count' FROM scheduler.notifications").fetchall() == [("1000",)]


async def test_nothing_is_queued_while_nobody_delivers(container: Container, sql: Sql) -> None:
    """Where somebody lately did, it is: a replica that comes back tells what happened meanwhile."""
    await container.prepare()
    silent = AlarmStore(container.get_database(), "silent", delivers=False)
    (loud,) = stores(container, "loud")

    async def happen(store: AlarmStore, job_id: str) -> int:
        note_failure(sql, job_id)
        look = await store.look(overdue_seconds=60, fresh_seconds=0)
        assert look is not None
        return (await store.store(look, decide(look.facts))).queued

    assert await happen(silent, "a") == 0
    assert await happen(loud, "b") >= 1
    assert await happen(silent, "c") >= 1
    sql.execute("UPDATE scheduler.alarm_watch SET notifies_until = clock_timestamp()")
    assert await happen(silent, "d") == 0


async def test_what_waits_has_a_bound(container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms_module, "MAX_WAITING", 2)
    await container.prepare()
    (store,) = stores(container, "a")
    dropped = 0
    for n in range(4):
        note_failure(sql, f"j{n}")
        look = await store.look(overdue_seconds=60, fresh_seconds=0)
        assert look is not None
        dropped += (await store.store(look, decide(look.facts))).dropped
    assert sql.execute("SELECT count(*) FROM scheduler.notifications").fetchone() == (2,)
    assert sql.execute("SELECT dropped FROM scheduler.alarm_watch").fetchone() == (dropped,)
    assert dropped > 0


async def test_fires_that_succeed_call_nothing_of_it(container: Container, sql: Sql) -> None:
    sql.execute(f"ALTER DATABASE \"{sql.info.dbname}\" SET track_functions = 'pl'")
    await container.start()
    scheduler = container.get_scheduler()
    await scheduler.add_jobs([ScheduleJob(f"j{n}", "J", "interval", 0.02, work) for n in range(10)])
    await eventually_async(
        lambda: (sql.execute("SELECT sum(run_count) FROM scheduler.jobs").fetchone() or (0,))[0] > 300
    )
    await scheduler.add_job(ScheduleJob("fails", "J", "once", None, fail, max_retries=0))
    await has(sql, OPEN, ("failure", "fails", 1))
    await container.stop()
    await has(sql, "SELECT calls FROM pg_stat_user_functions WHERE funcname = 'note_failed_attempt'", (1,))


# The command line.


async def test_the_command_line_lists_and_closes(container: Container, sql: Sql, command: Command) -> None:
    await container.prepare()
    assert "No alarm is open." in command("alarms", "list").stdout
    await declare(container, ScheduleJob("j", "J", "interval", 3600, "app:f"))
    make_late(sql, seconds=7200)
    found = json.loads(command("alarms", "list", "--json", code=1).stdout)
    assert [(a["kind"], a["job_id"], a["alarm_id"]) for a in found["alarms"]] == [("overdue", "j", None)]
    assert sql.execute("SELECT count(*) FROM scheduler.alarms").fetchone() == (0,), "looking changes nothing"
    (store,) = stores(container, "a")
    look = await store.look(overdue_seconds=30, fresh_seconds=0)
    assert look is not None
    await store.store(look, decide(look.facts))
    listed = command("alarms", "list", code=1, alarm_interval="3600").stdout
    assert "no leader has planned it" in listed
    assert json.loads(command("alarms", "outbox", "--json").stdout)[0]["state"] == "waiting"
    command("alarms", "close", "j", "--kind", "failure", code=1)
    command("alarms", "close", "j")
    assert json.loads(command("alarms", "list", "--json", alarm_interval="3600").stdout)["open"] == 0
    closed = json.loads(command("alarms", "list", "--all", "--json", alarm_interval="3600").stdout)["alarms"]
    assert closed[0]["closed_why"].startswith("closed by ")
    assert "no alarm of 'j' is open" in command("alarms", "close", "j", code=1).stderr


async def test_a_list_says_that_nobody_watches(container: Container, sql: Sql, command: Command) -> None:
    await container.prepare()
    (store,) = stores(container, "a")
    look = await store.look(overdue_seconds=30, fresh_seconds=0)
    assert look is not None
    await store.store(look, decide(look.facts))
    sql.execute("UPDATE scheduler.alarm_watch SET looked_at = looked_at - interval '1 hour'")
    assert "Nobody has looked for 1 h" in command("alarms", "list", code=1).stdout


def test_a_test_says_what_the_receiver_answered(command: Command, sql: Sql) -> None:
    with receiving() as receiver:
        webhook = {"webhook_url": receiver.url, "webhook_secret": SECRET}
        assert "took it (status 204)" in command("alarms", "test", **webhook).stdout
        assert receiver.events() == ["test"]
        receiver.status = 401
        assert "answered 401" in command("alarms", "test", code=1, **webhook).stderr
    nobody = {"webhook_url": f"http://127.0.0.1:{free_port()}/hidden", "webhook_secret": SECRET}
    refused = command("alarms", "test", code=3, **nobody).stderr
    assert "can't be reached" in refused
    assert "hidden" not in refused
    assert "webhook_url" in command("alarms", "test", code=2).stderr


async def test_a_replica_delivers_a_test(started: Made, command: Command) -> None:
    with receiving() as receiver:
        await started(receiver)
        done = await asyncio.to_thread(command, "alarms", "test", "--by-replicas")
        assert "delivered it at attempt 1" in done.stdout
        assert len(receiver.of("test")) == 1


def test_without_a_replica_a_test_says_so(command: Command, sql: Sql) -> None:
    assert "no replica has delivered it" in command("alarms", "test", "--by-replicas", "--wait", "0.5", code=1).stderr
