"""The database's clock jumps, on a real Postgres: nothing is consumed, somebody is told, and a person decides."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from commands import Command
from shifted_clock import ShiftedClock
from waiting import eventually_async
from web_clients import with_token

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.admin.clock import agree_to_clock
from scheduler_core.admin.doctor import examine
from scheduler_core.admin.explain import explanation_of
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.errors import ClockHoldNotFoundError
from scheduler_core.engine.clock_guard import ClockGuard
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Leadership
from scheduler_core.web import create_app

Sql = psycopg.Connection[Any]

HOURS_8 = 8 * 3600.0
TICK_SECONDS = 0.2

STATE = "SELECT job_id, next_run, due_at FROM scheduler.jobs ORDER BY job_id"
OPEN_HOLD = "SELECT evidence FROM scheduler.clock_holds WHERE ended_at IS NULL"
ENDINGS = "SELECT ended_why FROM scheduler.clock_holds ORDER BY hold_id"
TICKS = "SELECT count(*) FROM scheduler.runs WHERE job_id = 'tick' AND status = 'succeeded'"
FUTURE = "SELECT count(*) FROM scheduler.runs WHERE scheduled_for > now() + interval '10 min'"

Replica = Callable[[], Any]


async def work() -> None: ...


def jobs() -> list[ScheduleJob]:
    """One that fires all the time, and one whose run of tonight is not to be lost."""
    tonight = datetime.now(UTC) + timedelta(hours=4)
    return [
        ScheduleJob("tick", "T", "interval", TICK_SECONDS, work),
        ScheduleJob("nightly", "N", "daily", f"{tonight:%H:%M}", work),
    ]


@pytest.fixture
def clock(sql: Sql) -> ShiftedClock:
    return ShiftedClock(sql)


@pytest.fixture
def replica(database_url: str, redis_url: str, clock: ShiftedClock) -> Replica:
    """`async with replica() as container`: a process's worth of scheduler that has begun to fire."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Container]:
        made = Container(
            load_settings(
                database_url=database_url,
                redis_url=redis_url,
                timezone="UTC",
                lease_ttl=1.0,
                alarm_interval=0.2,
                clock_jump_limit=60,
            )
        )
        try:
            await made.start(jobs())
            yield made
        finally:
            await made.close()

    return start


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[ClockGuard]:
    """Each look that a leader has taken at the database's clock."""
    taken, look = [], ClockGuard.look

    async def noted(self: ClockGuard, leadership: Leadership | None) -> None:
        await look(self, leadership)
        if leadership is not None:
            taken.append(self)

    monkeypatch.setattr(ClockGuard, "look", noted)
    return taken


async def leader_looks_again(looks: list[ClockGuard], times: int = 4) -> None:
    """What it refuses it has refused more than once by then."""
    before = len(looks)
    await eventually_async(lambda: len(looks) >= before + times, what="looks of a leader")


def one(sql: Sql, question: str) -> Any:
    row = sql.execute(question).fetchone()  # type: ignore[call-overload]
    return None if row is None else row[0]


async def fires(sql: Sql, more: int = 3) -> None:
    before = one(sql, TICKS)
    await eventually_async(lambda: one(sql, TICKS) >= before + more, what="ticks")
    await eventually_async(lambda: one(sql, "SELECT count(*) FROM scheduler.clock"), what="what planning goes by")


async def is_held(sql: Sql) -> str:
    return str(await eventually_async(lambda: one(sql, OPEN_HOLD), what="a hold"))


async def goes_on(sql: Sql) -> None:
    await eventually_async(lambda: one(sql, OPEN_HOLD) is None, what="the end of the hold")
    await fires(sql)


def cursor(sql: Sql, job_id: str) -> datetime:
    found: datetime = one(sql, f"SELECT next_run FROM scheduler.jobs WHERE job_id = '{job_id}'")
    return found


@pytest.mark.parametrize("jump", [HOURS_8, -HOURS_8])
async def test_a_jump_that_is_over_in_seconds_consumes_nothing(
    replica: Replica, clock: ShiftedClock, looks: list[ClockGuard], sql: Sql, jump: float
) -> None:
    """pg_cron #105, quartz #270: eight hours off for some seconds, then right."""
    async with replica() as container:
        await fires(sql)
        before = cursor(sql, "nightly")
        clock.shift(jump)
        assert await is_held(sql) == "boottime"
        stands_at = one(sql, TICKS)
        await leader_looks_again(looks)
        assert one(sql, TICKS) <= stands_at + 1, "what had been claimed by then"
        assert cursor(sql, "nightly") == before
        assert abs(cursor(sql, "tick") - datetime.now(UTC)) < timedelta(minutes=1)
        clock.shift(0)
        await goes_on(sql)
        assert cursor(sql, "nightly") == before
        assert one(sql, FUTURE) == 0
        assert one(sql, ENDINGS) == "the clock is right again"
        assert container.get_scheduler().health_snapshot().clock_jump is None
    # The occurrences of those seconds are late, and accounted for.
    assert one(sql, "SELECT count(*) FROM scheduler.runs WHERE status = 'missed' AND missed_count > 0") <= 1


async def test_everybody_who_asks_is_told(replica: Replica, clock: ShiftedClock, sql: Sql, command: Command) -> None:
    async with replica() as container:
        await fires(sql)
        clock.shift(HOURS_8)
        await is_held(sql)
        await eventually_async(lambda: container.get_scheduler().health_snapshot().clock_jump is not None)
        doctor = await examine(container)
        (finding,) = [t for t in doctor["findings"] if t["kind"] == "clock"]
        assert finding["subject"] == "Postgres"
        assert "jumped 8 h ahead" in finding["detail"]
        assert "scheduler clock agree" in finding["detail"]
        assert not [t for t in doctor["findings"] if t["kind"] == "overdue"], "by the clock in question all is overdue"
        told = await explanation_of(container, "nightly")
        assert told.sentences[0].startswith("Nothing is planned: the database's clock jumped 8 h ahead")
        alarm = await eventually_async(
            lambda: sql.execute("SELECT kind, job_id, detail FROM scheduler_audit.alarms").fetchone(), what="an alarm"
        )
        assert alarm[:2] == ("clock", "")  # type: ignore[index]
        alarms = json.loads(command("alarms", "list", "--json", code=1).stdout)
        assert [row["kind"] for row in alarms["alarms"]] == ["clock"]
        assert "jumped 8 h ahead" in command("doctor", code=1).stdout.replace("\n", " ")
        shown = command("clock", "show", code=1).stdout
        assert "Planning has stopped" in shown
        assert "scheduler clock agree 1" in shown
        document = json.loads(command("clock", "show", "--json", code=1).stdout)
        assert (document["held"], document["hold_id"]) == (True, 1)
        assert document["holds"][0]["ahead_by"] == pytest.approx(HOURS_8, abs=2)
        clock.shift(0)
        await goes_on(sql)
        closed = "SELECT closed_why FROM scheduler_audit.alarms WHERE closed_at IS NOT NULL"
        await eventually_async(lambda: one(sql, closed) == "the clock is right again", what="the alarm closes")
        assert one(sql, "SELECT count(*) FROM scheduler_audit.alarms WHERE kind <> 'clock'") == 0, (
            "nothing else was wrong"
        )
        assert "has never" not in command("clock", "show").stdout
        assert not [t for t in (await examine(container))["findings"] if t["kind"] in ("clock", "overdue")]


async def test_a_jump_that_nobody_looked_at_in_time_is_told_all_the_same(
    replica: Replica, clock: ShiftedClock, sql: Sql
) -> None:
    """The state lasted less than a look."""
    async with replica() as container:
        await fires(sql)
        await container._get_alarm_watch().stop()
        clock.shift(HOURS_8)
        await is_held(sql)
        clock.shift(0)
        await goes_on(sql)
        assert one(sql, "SELECT count(*) FROM scheduler.alarms") == 0
        container._get_alarm_watch().start()
        closed = "SELECT closed_why FROM scheduler.alarms WHERE kind = 'clock' AND closed_at IS NOT NULL"
        await eventually_async(lambda: one(sql, closed) == "the clock is right again", what="told, and closed")
        assert one(sql, "SELECT count(*) FROM scheduler.alarms WHERE kind = 'clock'") == 1


@pytest.mark.parametrize("jump", [HOURS_8, -HOURS_8])
async def test_an_operator_agrees_and_planning_goes_on_by_that_clock(
    replica: Replica, clock: ShiftedClock, sql: Sql, command: Command, jump: float
) -> None:
    """And the way back is a jump again."""
    async with replica() as container:
        await fires(sql)
        before = cursor(sql, "nightly")
        clock.shift(jump)
        await is_held(sql)
        with pytest.raises(ClockHoldNotFoundError):
            await agree_to_clock(container, "somebody", 99)
        assert one(sql, OPEN_HOLD)
        assert "agree" not in command("clock", "agree", "1").stderr
        await eventually_async(lambda: one(sql, OPEN_HOLD) is None)
        assert str(one(sql, ENDINGS)).startswith("agreed to by ")
        if jump > 0:
            # Four hours past the nightly run: late, and by its policy it runs once.
            nightly = "SELECT count(*) FROM scheduler.runs WHERE job_id = 'nightly' AND status = 'succeeded'"
            await eventually_async(lambda: one(sql, nightly) == 1, what="the nightly run")
            await fires(sql)
            assert cursor(sql, "nightly") == before + timedelta(days=1)
        else:
            # What was accounted for stays so: the next tick is eight hours away by the clock that was agreed to.
            assert cursor(sql, "nightly") == before
            assert cursor(sql, "tick") > datetime.now(UTC) - timedelta(hours=7)
        clock.shift(0)
        await is_held(sql)
        assert one(sql, "SELECT count(*) FROM scheduler.clock_holds") == 2


@pytest.mark.parametrize("jump", [HOURS_8, -HOURS_8])
@pytest.mark.parametrize("found_out", [True, False], ids=["after it was found out", "while nothing ran"])
async def test_a_restart_of_all_accepts_nothing(
    replica: Replica, clock: ShiftedClock, looks: list[ClockGuard], sql: Sql, jump: float, found_out: bool
) -> None:
    async with replica():
        await fires(sql)
        # What planning goes by is stored every few seconds: a restart compares with that.
        if found_out:
            clock.shift(jump)
            await is_held(sql)
    before = sql.execute(STATE).fetchall()
    clock.shift(jump)
    async with replica() as container:
        assert await is_held(sql) == "boottime"
        await leader_looks_again(looks)
        after = sql.execute(STATE).fetchall()
        assert after == before
        scheduler = container.get_scheduler()
        # Code goes on as if the clock were right: what it declares counts from the true time.
        await scheduler.add_job(ScheduleJob("new", "N", "interval", 3600, work))
        anchor = one(sql, "SELECT anchor FROM scheduler.jobs WHERE job_id = 'new'")
        assert abs(anchor - datetime.now(UTC)) < timedelta(seconds=30)
        clock.shift(0)
        await goes_on(sql)


async def test_operators_are_not_kept_from_what_they_do(replica: Replica, clock: ShiftedClock, sql: Sql) -> None:
    """While nothing is planned jobs are paused, edited and run at once, by the time that the clock should show."""
    async with replica() as container:
        await fires(sql)
        clock.shift(HOURS_8)
        await is_held(sql)
        operations = container.get_operations()
        run = await operations.trigger("nightly")
        assert abs(run.scheduled_for - datetime.now(UTC)) < timedelta(seconds=30)
        ended = f"SELECT status = 'succeeded' FROM scheduler.runs WHERE run_id = '{run.run_id}'"
        await eventually_async(lambda: one(sql, ended), what="the triggered run")
        again = await container.get_run_operations().rerun(run.run_id)
        ended = f"SELECT status = 'succeeded' FROM scheduler.runs WHERE run_id = '{again.run_id}'"
        await eventually_async(lambda: one(sql, ended), what="the rerun")
        before = cursor(sql, "nightly")
        await operations.pause("nightly")
        await operations.resume("nightly")
        assert cursor(sql, "nightly") == before
        clock.shift(0)
        await goes_on(sql)
        assert one(sql, FUTURE) == 0


@pytest.mark.parametrize("jump", [HOURS_8, -HOURS_8])
async def test_a_successor_holds_too(
    replica: Replica, clock: ShiftedClock, looks: list[ClockGuard], sql: Sql, jump: float
) -> None:
    """The leader goes at the moment of the jump, before anybody could find it out."""
    async with replica() as first, replica() as second:
        await fires(sql)
        leads = first if first.get_scheduler().is_leader else second
        follows = second if leads is first else first
        before = cursor(sql, "nightly")
        clock.shift(jump)
        await leads.get_scheduler().running.leader_loop.resign("resigned", for_good=True)
        await eventually_async(lambda: follows.get_scheduler().is_leader, what="a successor")
        await is_held(sql)
        await leader_looks_again(looks)
        assert cursor(sql, "nightly") == before
        clock.shift(0)
        await goes_on(sql)


ELSEWHERE = """
UPDATE scheduler.clock SET boot = 'another machine', boottime = 5,
       database_at = database_at - make_interval(secs => %(down)s),
       wall_at = wall_at - make_interval(secs => %(down)s) + make_interval(secs => %(wall_off)s)
"""


@pytest.mark.parametrize(
    ("down", "wall_off", "evidence"),
    [
        (3 * 86_400, 0, None),
        (3 * 86_400, 8 * 3600, "wall"),
        (3 * 86_400, -8 * 3600, "wall"),
        (1, 8 * 3600, None),
    ],
    ids=["days of downtime", "a jump ahead meanwhile", "a jump back meanwhile", "moments, and a wrong host clock"],
)
async def test_a_start_on_another_machine(
    replica: Replica, sql: Sql, down: float, wall_off: float, evidence: str | None
) -> None:
    async with replica():
        await fires(sql)
    sql.execute(ELSEWHERE, {"down": down, "wall_off": wall_off})
    async with replica():
        if evidence is None:
            await fires(sql)
            assert one(sql, "SELECT count(*) FROM scheduler.clock_holds") == 0
        else:
            assert await is_held(sql) == evidence


async def test_most_machines_that_live_decide_about_one_whose_clock_is_wrong(replica: Replica, sql: Sql) -> None:
    """After a long downtime one wall clock says that the database's has jumped, and two others say that it has not."""
    async with replica():
        await fires(sql)
    sql.execute(ELSEWHERE, {"down": 3 * 86_400, "wall_off": 8 * 3600})
    async with replica():
        assert await is_held(sql) == "wall"
        for number in range(2):
            sql.execute(
                "INSERT INTO scheduler.instances (instance_id, instance_name, host, pid, version, eligible, "
                "started_at, last_seen, boot, clock_ahead) SELECT %(id)s, 'x', 'x', 1, '0', false, clock_timestamp(), "
                "clock_timestamp() + interval '5 s', %(id)s, "
                "(SELECT extract(epoch FROM database_at - wall_at) FROM scheduler.clock)",
                {"id": f"machine-{number}"},
            )
        await goes_on(sql)
        assert one(sql, ENDINGS) == "the clock is right again"


async def test_a_limit_of_zero_goes_by_whatever_the_clock_shows(
    database_url: str, redis_url: str, clock: ShiftedClock, sql: Sql
) -> None:
    made = Container(
        load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0, clock_jump_limit=0)
    )
    try:
        await made.start(jobs())
        await fires(sql)
        clock.shift(HOURS_8)
        await eventually_async(lambda: cursor(sql, "tick") > datetime.now(UTC) + timedelta(hours=7))
        assert one(sql, "SELECT count(*) FROM scheduler.clock_holds") == 0
    finally:
        await made.close()


async def test_no_history_is_dropped_by_a_clock_that_has_jumped(
    replica: Replica, clock: ShiftedClock, looks: list[ClockGuard], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    maintained = []

    async def maintain(self: Container) -> None:
        maintained.append(self)

    monkeypatch.setattr(Container, "_maintain", maintain)
    monkeypatch.setattr("scheduler_core.engine.leader_loop.MAINTENANCE_SECONDS", 0.3)
    monkeypatch.setattr("scheduler_core.engine.leader_loop.MAINTENANCE_DELAY_SECONDS", 0.1)
    async with replica():
        await eventually_async(lambda: maintained, what="maintenance")
        clock.shift(60 * 86_400.0)
        await is_held(sql)
        count = len(maintained)
        await leader_looks_again(looks)
        assert len(maintained) == count
        clock.shift(0)
        await eventually_async(lambda: len(maintained) > count, what="maintenance again")


@pytest.mark.parametrize(
    ("edit", "stops"),
    [
        ("DELETE FROM scheduler.clock", False),
        ("UPDATE scheduler.clock SET database_at = 'infinity'", False),
        ("UPDATE scheduler.clock SET wall_at = '-infinity'", False),
        ("UPDATE scheduler.clock SET boottime = 'NaN'", False),
        ("UPDATE scheduler.clock SET version = version + 7", False),
        ("UPDATE scheduler.clock SET database_at = database_at - interval '1 year'", True),
        (
            "INSERT INTO scheduler.clock_holds (version, expected_at, database_at, wall_at, boot, boottime, error, "
            "evidence, term, instance_id) VALUES (0, now(), 'infinity', now(), 'x', 1, 0, 'boottime', 1, 'x') "
            "ON CONFLICT DO NOTHING",
            False,
        ),
        (
            "INSERT INTO scheduler.clock_holds (version, expected_at, database_at, wall_at, boot, boottime, error, "
            "evidence, term, instance_id) VALUES (0, now(), now(), now(), 'x', 1, 0, 'hearsay', 1, 'x') "
            "ON CONFLICT DO NOTHING",
            False,
        ),
    ],
)
async def test_rows_that_somebody_edits_stop_nothing_for_good(
    replica: Replica, sql: Sql, command: Command, edit: str, stops: bool
) -> None:
    """What a running replica remembers outweighs a row; what a new one makes of it, an operator can end."""
    async with replica():
        await fires(sql)
        sql.execute(edit)
        await fires(sql, 10)
    sql.execute(edit)
    async with replica():
        if stops:
            await is_held(sql)
            command("clock", "agree")
        await fires(sql)


async def test_over_http(replica: Replica, clock: ShiftedClock, sql: Sql) -> None:
    async with replica() as container:
        await fires(sql)
        app = create_app(container)
        tokens = container.get_tokens()
        for_viewer, for_operator = [
            (await tokens.create(scope.value, scope, days=None, by="t"))[1] for scope in (Scope.VIEWER, Scope.OPERATOR)
        ]
        async with with_token(app, for_viewer) as viewer, with_token(app, for_operator) as operator:
            calm = (await viewer.get("/api/v1/clock")).json()
            assert (calm["held"], calm["hold_id"], calm["holds"]) == (False, None, [])
            assert calm["jump_limit"] == 60
            clock.shift(HOURS_8)
            await is_held(sql)
            report = (await viewer.get("/api/v1/clock")).json()
            assert report["held"]
            assert "jumped 8 h ahead" in report["detail"]
            await eventually_async(lambda: container.get_scheduler().health_snapshot().clock_jump is not None)
            metrics = (await viewer.get("/metrics")).text
            (line,) = [each for each in metrics.splitlines() if each.startswith("scheduler_clock_jump_seconds ")]
            assert float(line.split()[1]) == pytest.approx(HOURS_8, abs=5)
            assert (await viewer.get("/readyz")).status_code == 200
            assert (await viewer.post("/api/v1/clock/agree")).status_code == 403
            refused: httpx.Response = await operator.post("/api/v1/clock/agree", params={"hold_id": 999})
            assert refused.status_code == 409
            assert (await operator.post("/api/v1/clock/agree", params={"hold_id": report["hold_id"]})).json()[
                "hold_id"
            ] == report["hold_id"]
            await fires(sql)
            again = await operator.post("/api/v1/clock/agree")
            assert again.json()["hold_id"] is None


async def test_what_a_replica_knows_of_time_is_published(replica: Replica, sql: Sql) -> None:
    async with replica() as container:
        scheduler: BaseScheduler = container.get_scheduler()
        await eventually_async(lambda: one(sql, "SELECT zone_release FROM scheduler.instances"), what="published")
        row = sql.execute("SELECT instance_id, boot, abs(clock_ahead) < 5, zones FROM scheduler.instances").fetchone()
        assert row is not None
        assert row[0] == scheduler.instance.instance_id
        assert row[2]
        assert {"Europe/Berlin", "UTC"} <= set(row[3])
