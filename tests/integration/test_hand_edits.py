"""What a superuser's hand does to `jobs`, `runs` and `leader` under a running leader: docs/hand-edits.md, row by row.

Beside each edit a healthy job ticks ten times a second; nothing done to another row may stop it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest
import redis
from psycopg import errors
from waiting import eventually_async

from scheduler_core import Container, RunContext, ScheduleJob
from scheduler_core.engine.scheduler import BaseScheduler

Sql = psycopg.Connection[Any]

LEFT_ALONE = "can't be read and is left alone"


async def importable() -> None:
    """Goes by its own name, whatever the job is called."""


class Scene:
    """A leader with a healthy job, and jobs to be maltreated."""

    def __init__(self, sql: Sql, container: Container, caplog: pytest.LogCaptureFixture) -> None:
        self.sql, self.container, self.caplog = sql, container, caplog
        self.calls = Counter[str]()
        self.gate = asyncio.Event()
        self.slow_fails = False
        self.scheduler: BaseScheduler

    async def begin(self) -> None:
        self.scheduler = await self.container.start()
        await self.scheduler.add_jobs(
            [
                ScheduleJob("tick", "tick", "interval", 0.1, self.tick),
                ScheduleJob("v", "v", "interval", 0.1, self.victim),
                ScheduleJob("slow", "slow", "interval", 86_400, self.slow, overlap="allow", retry_delay=0.5),
            ]
        )
        await self.ticks_on()

    async def tick(self) -> None:
        self.calls["tick"] += 1

    async def victim(self, ctx: RunContext) -> None:
        self.calls[ctx.job_id] += 1

    async def slow(self, ctx: RunContext) -> None:
        self.calls["slow"] += 1
        await self.gate.wait()
        if self.slow_fails:
            raise RuntimeError("it failed")

    async def fires(self, job_id: str, times: int = 3) -> None:
        wanted = self.calls[job_id] + times

        async def fired() -> bool:
            return self.calls[job_id] >= wanted

        await eventually_async(fired, what=f"{job_id} fires")

    async def ticks_on(self) -> None:
        await self.fires("tick")

    async def sees(self, statement: str, wanted: Any) -> None:
        async def same() -> bool:
            return self.one(statement) == wanted

        await eventually_async(same, what=f"{statement}: {wanted}")

    async def all_fire(self, job_ids: Sequence[str]) -> None:
        before = Counter(self.calls)

        async def silent() -> bool:
            return not [job_id for job_id in job_ids if self.calls[job_id] < before[job_id] + 2]

        await eventually_async(silent, what="all fire")

    async def firing_of(self, job_ids: Sequence[str]) -> set[str]:
        """Those of the jobs that fire while the healthy one does."""
        before = Counter(self.calls)
        await self.fires("tick", 5)
        return {job_id for job_id in job_ids if self.calls[job_id] > before[job_id]}

    def one(self, statement: str) -> Any:
        row = self.sql.execute(statement).fetchone()
        return row if row is None or len(row) > 1 else row[0]

    def said(self, words: str) -> list[str]:
        return [r.getMessage() for r in self.caplog.records if words in r.getMessage()]

    async def says(self, words: str, about: str = "") -> None:
        async def heard() -> bool:
            return bool(self.said(words))

        await eventually_async(heard, what=f"the log says {words!r} {about}")

    def nothing_broke(self) -> None:
        """No loop was thrown out by an error that nobody foresaw, and no run failed for one."""
        for words in ("begins again", "unforeseen", "inside the scheduler", "claiming pauses", "recovery pauses"):
            assert self.said(words) == []


@pytest.fixture
async def scene(container: Container, sql: Sql, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Scene]:
    caplog.set_level(logging.INFO)
    made = Scene(sql, container, caplog)
    await made.begin()
    yield made
    made.gate.set()
    await made.ticks_on()


# jobs

REFUSED = [
    ("schedule_type = 'weekly'", errors.CheckViolation),
    ("schedule_type = NULL", errors.NotNullViolation),
    ("anchor = NULL", errors.NotNullViolation),
    ("timezone = NULL", errors.NotNullViolation),
    ("job_id = 'tick'", errors.UniqueViolation),
    ("max_retries = 1e12", errors.NumericValueOutOfRange),
    ("version = NULL", errors.NotNullViolation),
]

UNREADABLE = [
    "schedule_value = '\"garbage\"'",
    "schedule_value = '-1'",
    "schedule_value = NULL",
    "schedule_value = repeat('9', 5000)::jsonb",
    "schedule_type = 'cron'",
    "timezone = 'Mars'",
    "timezone = 'America'",
    "timezone = '../../etc/passwd'",
    "callback = ''",
    "args = '{}'",
    "args = (repeat('[', 3000) || repeat(']', 3000))::jsonb",
    "kwargs = '[]'",
    "jitter = -1",
    "jitter = 'NaN'",
    "misfire_grace = 'infinity'",
    "retry_delay = -1",
    "max_retries = -1",
    "timeout = 0",
    "lock_ttl = -5",
    "catch_up_limit = -1",
    "overlap = 'maybe'",
    "misfire = 'maybe'",
    "delivery = 'maybe'",
    "dst = 'maybe'",
    "name = repeat('x', 100000)",
    "next_run = '-infinity', due_at = '-infinity'",
    "next_run = 'infinity'",
    "next_run = '0044-03-15 BC', due_at = '0044-03-15 BC'",
    "next_run = '20000-01-01'",
    "anchor = 'infinity', tags = '{x}'",
    "anchor = '0044-03-15 BC'",
    "start_at = '-infinity'",
    "end_at = 'infinity'",
    "end_at = '20000-01-01'",
    "paused_at = 'infinity'",
    "finished_at = '-infinity', tags = '{x}'",
]

HARMLESS = [
    "next_run = clock_timestamp() - interval '20 years', due_at = clock_timestamp()",
    "next_run = '0002-01-01', due_at = '0002-01-01'",
    "next_run = next_run + interval '33 ms'",
    "due_at = clock_timestamp() - interval '1 day'",
    "due_at = '-infinity'",
    "due_at = '0044-03-15 BC'",
    "version = 0",
    "version = -7",
    "version = version + 1000",
    "version = 9223372036854775807",
    "finished_at = clock_timestamp()",
    "consecutive_failures = -5",
    "run_count = -5, error_count = -5",
    "last_run = '0044-03-15 BC'",
    "last_run = 'infinity'",
    "paused_at = NULL, paused_until = clock_timestamp() + interval '1 day'",
    "paused_at = clock_timestamp(), paused_until = clock_timestamp() - interval '1 day'",
    "digest = 'none', schedule_digest = 'none'",
]

SILENT = [
    "next_run = NULL",
    "next_run = NULL, due_at = NULL",
    "next_run = clock_timestamp() + interval '1 day', due_at = clock_timestamp()",
    "next_run = '9999-12-29', due_at = clock_timestamp()",
    "due_at = NULL",
    "due_at = clock_timestamp() + interval '1 day'",
    "due_at = 'infinity'",
    "due_at = '20000-01-01'",
    "paused_at = clock_timestamp(), paused_until = NULL",
    "enabled = false",
    "auto_disabled_at = clock_timestamp()",
]

RESTORE = """
UPDATE scheduler.jobs j SET ({columns}) = (SELECT {columns} FROM was WHERE was.job_id = j.job_id)
WHERE job_id = ANY(%s)
"""


async def with_victims(scene: Scene, count: int) -> list[str]:
    """As many jobs as there are edits, each one firing; their rows are kept in the table `was`."""
    names = [f"v{number}" for number in range(count)]
    await scene.scheduler.add_jobs([ScheduleJob(name, name, "interval", 0.2, scene.victim) for name in names])
    await scene.all_fire(names)
    scene.sql.execute("CREATE TEMPORARY TABLE was AS SELECT * FROM scheduler.jobs")
    return names


def edit_job(sql: Sql, job_id: str, edit: str) -> None:
    sql.execute(f"UPDATE scheduler.jobs SET {edit} WHERE job_id = '{job_id}'")


def put_right(sql: Sql, job_ids: Sequence[str]) -> None:
    columns = sql.execute(
        "SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = 'was'::regclass AND attnum > 0 "
        "AND attname NOT IN ('job_id', 'version')"
    ).fetchone()
    assert columns is not None
    sql.execute(RESTORE.format(columns=columns[0]), [list(job_ids)])


async def test_what_the_database_refuses(scene: Scene) -> None:
    for edit, error in REFUSED:
        with pytest.raises(error):
            scene.sql.execute(f"UPDATE scheduler.jobs SET {edit} WHERE job_id = 'v'")
    with pytest.raises(errors.UniqueViolation):
        scene.sql.execute("INSERT INTO scheduler.leader (term) VALUES (7)")
    with pytest.raises(errors.CheckViolation):
        scene.sql.execute("INSERT INTO scheduler.leader (only_row, term) VALUES (false, 7)")
    await scene.fires("v")
    scene.nothing_broke()


async def test_jobs_that_can_not_be_read_are_left_alone_until_they_are_put_right(scene: Scene) -> None:
    victims = await with_victims(scene, len(UNREADABLE))
    for victim, edit in zip(victims, UNREADABLE, strict=True):
        edit_job(scene.sql, victim, edit)
    for victim, edit in zip(victims, UNREADABLE, strict=True):
        await scene.says(f"the row of job '{victim}' {LEFT_ALONE}", about=edit)
    assert await scene.firing_of(victims) == set()
    assert len(scene.said(LEFT_ALONE)) == len(UNREADABLE), "each is reported once"
    put_right(scene.sql, victims)
    await scene.all_fire(victims)
    scene.nothing_broke()


async def test_what_does_not_keep_a_job_from_firing(scene: Scene) -> None:
    victims = await with_victims(scene, len(HARMLESS))
    for victim, edit in zip(victims, HARMLESS, strict=True):
        edit_job(scene.sql, victim, edit)
    await scene.all_fire(victims)
    assert scene.said(LEFT_ALONE) == []
    scene.nothing_broke()


async def test_what_silences_a_job_without_a_word(scene: Scene) -> None:
    victims = await with_victims(scene, len(SILENT))
    edits = dict(zip(victims, SILENT, strict=True))

    async def silenced() -> bool:
        # A claim that was under way may have put a due_at back.
        for victim in await scene.firing_of(victims):
            edit_job(scene.sql, victim, edits[victim])
        await scene.ticks_on()
        return not await scene.firing_of(victims)

    await eventually_async(silenced, what="silence")
    assert scene.said(LEFT_ALONE) == []
    put_right(scene.sql, victims)
    await scene.all_fire(victims)
    scene.nothing_broke()


async def test_no_instant_of_another_job_keeps_the_loop_from_sleeping(scene: Scene) -> None:
    """Where nothing else is to come, the next due_at is all that the loop has to go by."""
    scene.sql.execute("DELETE FROM scheduler.jobs WHERE job_id IN ('v', 'slow')")
    scene.sql.execute("UPDATE scheduler.jobs SET due_at = '20000-01-01' WHERE job_id = 'tick'")
    await scene.sees("SELECT due_at > '9999-12-31' FROM scheduler.jobs", True)
    scene.sql.execute("UPDATE scheduler.jobs SET due_at = clock_timestamp()")
    await scene.ticks_on()
    scene.nothing_broke()


async def test_a_renamed_callback_waits_for_somebody_who_can_call_it(scene: Scene) -> None:
    scene.sql.execute("CREATE TEMPORARY TABLE was AS SELECT * FROM scheduler.jobs")
    edit_job(scene.sql, "v", "callback = 'nowhere:nothing'")
    await scene.says("nobody here can call nowhere:nothing")
    await scene.sees(
        "SELECT count(*) > 0 FROM scheduler.runs WHERE reason = 'no_callback' AND status = 'pending'", True
    )
    await scene.ticks_on()
    assert len(scene.said("nobody here can call nowhere:nothing")) == 1
    put_right(scene.sql, ["v"])
    # The runs that waited are adopted; the job itself is looked at again in the next term, or once it is declared.
    await scene.fires("v", 1)
    scene.nothing_broke()


async def test_a_renamed_job_goes_on_under_its_new_id(scene: Scene) -> None:
    await scene.scheduler.add_job(ScheduleJob("old", "old", "interval", 0.1, importable))
    edit_job(scene.sql, "old", "job_id = 'renamed'")
    await scene.sees("SELECT count(*) > 2 FROM scheduler.runs WHERE job_id = 'renamed' AND status = 'succeeded'", True)
    actions = (
        "SELECT array_agg(action ORDER BY change_id) FROM scheduler.job_changes WHERE job_id IN ('old', 'renamed')"
    )
    assert scene.one(actions) == ["added", "removed", "added"]
    scene.nothing_broke()


@pytest.mark.parametrize("removal", ["DELETE FROM scheduler.jobs", "TRUNCATE scheduler.jobs"])
async def test_all_jobs_removed_at_once(scene: Scene, removal: str) -> None:
    scene.sql.execute(removal)

    async def quiet() -> bool:
        before = scene.calls.total()
        await scene.scheduler.add_job(ScheduleJob("back", "back", "interval", 0.1, scene.slow, overlap="allow"))
        return scene.calls.total() > before

    await eventually_async(quiet, what="a job added afterwards fires")
    await scene.scheduler.add_job(ScheduleJob("tick", "tick", "interval", 0.1, scene.tick))
    await scene.ticks_on()
    scene.nothing_broke()


# runs


async def under_way(scene: Scene) -> str:
    """A run that is running, durably; returns its id."""
    run = str((await scene.scheduler.operations.trigger("slow")).run_id)
    await scene.sees(STATUS.format(run=run), "running")
    return run


LATE = "SELECT outcome, late FROM scheduler.attempts WHERE run_id = '{run}'"
STATUS = "SELECT status FROM scheduler.runs WHERE run_id = '{run}'"

RUNNING = [
    ("DELETE FROM scheduler.runs WHERE run_id = '{run}'", "is gone: its outcome is not recorded", STATUS, None),
    ("TRUNCATE scheduler.runs", "is gone: its outcome is not recorded", STATUS, None),
    ("UPDATE scheduler.runs SET status = 'succeeded' WHERE run_id = '{run}'", "kept as late", STATUS, "succeeded"),
    ("UPDATE scheduler.runs SET status = 'succeeded' WHERE run_id = '{run}'", "", LATE, ("succeeded", True)),
    ("UPDATE scheduler.runs SET status = 'garbage' WHERE run_id = '{run}'", "kept as late", STATUS, "garbage"),
    ("UPDATE scheduler.runs SET status = 'pending' WHERE run_id = '{run}'", "", STATUS, "succeeded"),
    ("UPDATE scheduler.runs SET instance_id = NULL WHERE run_id = '{run}'", "kept as late", STATUS, "running"),
    ("UPDATE scheduler.runs SET term = term + 100 WHERE run_id = '{run}'", "kept as late", LATE, ("succeeded", True)),
    (
        "UPDATE scheduler.runs SET instance_id = 'stranger' WHERE run_id = '{run}'",
        "were lost with their owners",
        STATUS,
        "succeeded",
    ),
    (
        "UPDATE scheduler.runs SET scheduled_for = scheduled_for + interval '1 day' WHERE run_id = '{run}'",
        "is gone: its outcome is not recorded",
        STATUS,
        "running",
    ),
    (
        "UPDATE scheduler.runs SET due_at = 'infinity', started_at = '-infinity' WHERE run_id = '{run}'",
        "",
        STATUS,
        "succeeded",
    ),
    ("UPDATE scheduler.runs SET attempt = -1 WHERE run_id = '{run}'", "", STATUS, "succeeded"),
    ("DELETE FROM scheduler.attempts", "", STATUS, "succeeded"),
    ("DELETE FROM scheduler.jobs WHERE job_id = 'slow'", "", STATUS, "succeeded"),
]


@pytest.mark.parametrize(("edit", "says", "ask", "wanted"), RUNNING)
async def test_a_running_run_is_edited(scene: Scene, edit: str, says: str, ask: str, wanted: Any) -> None:
    run = await under_way(scene)
    scene.sql.execute(edit.format(run=run))
    await scene.ticks_on()
    scene.gate.set()
    if says:
        await scene.says(says)
    await scene.sees(ask.format(run=run), wanted)
    scene.nothing_broke()


async def test_a_run_whose_row_is_gone_is_not_tried_again(scene: Scene) -> None:
    """A standby that is promoted may lack it: then the occurrence is claimed anew, and called beside a further try."""
    scene.slow_fails = True
    run = await under_way(scene)
    scene.sql.execute(f"DELETE FROM scheduler.runs WHERE run_id = '{run}'")
    scene.gate.set()

    async def is_handed_back() -> bool:
        """After how its attempt ended, it is what comes next of the run that can't be recorded."""
        return len(scene.said("is gone: its outcome is not recorded")) == 2

    await eventually_async(is_handed_back, what="the run is let go of")
    assert scene.calls["slow"] == 1
    scene.nothing_broke()


def put_run(sql: Sql, due_at: str, origin: str = "trigger", status: str = "pending", also: str = "NULL") -> str:
    """A run without owner, as a hand may write it; returns its id."""
    row = sql.execute(
        "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, next_attempt_at, "
        f"definition_version) VALUES (gen_random_uuid(), 'slow', 'slow', clock_timestamp(), {due_at}, '{origin}', "
        f"'{status}', {also}, 1) RETURNING run_id"
    ).fetchone()
    assert row is not None
    return str(row[0])


async def test_runs_that_can_not_be_read_do_not_stop_the_adoption_of_others(scene: Scene) -> None:
    scene.gate.set()
    with scene.sql.transaction():
        unreadable = [
            put_run(scene.sql, "clock_timestamp()", origin="nonsense"),
            put_run(scene.sql, "'infinity'"),
            put_run(scene.sql, "'-infinity'"),
            put_run(scene.sql, "'0044-03-15 BC'"),
            put_run(scene.sql, "'20000-01-01'"),
            put_run(scene.sql, "clock_timestamp()", status="retrying", also="'infinity'"),
        ]
        unknown = put_run(scene.sql, "clock_timestamp()", status="garbage")
        good = [put_run(scene.sql, "clock_timestamp()") for _ in range(3)]
    for run in good:
        await scene.sees(STATUS.format(run=run), "succeeded")
    for run in unreadable:
        await scene.says(run)
        assert len(scene.said(run)) == 1
        assert scene.one(STATUS.format(run=run)) in ("pending", "retrying")
    assert scene.one(STATUS.format(run=unknown)) == "garbage"
    await scene.ticks_on()
    scene.nothing_broke()


async def test_a_pending_run_deleted_while_its_timer_waits(scene: Scene) -> None:
    scene.gate.set()
    run = put_run(scene.sql, "clock_timestamp() + interval '1 s'")
    await scene.sees(f"SELECT instance_id IS NOT NULL FROM scheduler.runs WHERE run_id = '{run}'", True)
    scene.sql.execute(f"DELETE FROM scheduler.runs WHERE run_id = '{run}'")
    await scene.says("is gone: its outcome is not recorded")
    assert scene.calls["slow"] == 1
    scene.nothing_broke()


async def test_a_job_deleted_while_its_run_waits_to_begin(scene: Scene) -> None:
    scene.gate.set()
    run = put_run(scene.sql, "clock_timestamp() + interval '1 s'")
    await scene.sees(f"SELECT instance_id IS NOT NULL FROM scheduler.runs WHERE run_id = '{run}'", True)
    scene.sql.execute("DELETE FROM scheduler.jobs WHERE job_id = 'slow'")
    # Known from before, its run begins; where it is not known any more, it is skipped as removed.
    await scene.sees(f"SELECT status IN ('succeeded', 'skipped') FROM scheduler.runs WHERE run_id = '{run}'", True)
    scene.nothing_broke()


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE scheduler.runs SET next_attempt_at = 'infinity' WHERE status = 'retrying'",
        "DELETE FROM scheduler.attempts",
        "DELETE FROM scheduler.jobs WHERE job_id = 'failing'",
    ],
)
async def test_a_run_that_waits_for_its_next_attempt_makes_it(scene: Scene, edit: str) -> None:
    async def fails_once(ctx: RunContext) -> None:
        if ctx.attempt == 1:
            raise ValueError("once")

    await scene.scheduler.add_job(ScheduleJob("failing", "failing", "once", None, fails_once, retry_delay=1.0))
    await scene.sees("SELECT status FROM scheduler.runs WHERE job_id = 'failing'", "retrying")
    scene.sql.execute(edit)
    await scene.sees("SELECT status, attempt FROM scheduler.runs WHERE job_id = 'failing'", ("succeeded", 2))
    scene.nothing_broke()


async def test_a_run_that_ended_and_is_made_pending_again_runs_again(scene: Scene) -> None:
    scene.gate.set()
    run = str((await scene.scheduler.operations.trigger("slow")).run_id)
    await scene.sees(STATUS.format(run=run), "succeeded")
    scene.sql.execute(f"UPDATE scheduler.runs SET status = 'pending', instance_id = NULL WHERE run_id = '{run}'")
    await scene.sees(f"SELECT status, attempt FROM scheduler.runs WHERE run_id = '{run}'", ("succeeded", 2))
    assert scene.calls["slow"] == 2
    scene.nothing_broke()


# leader


async def new_term(scene: Scene, above: int) -> None:
    await scene.sees(f"SELECT term > {above} AND nonce IS NOT NULL FROM scheduler.leader", True)
    await scene.ticks_on()


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE scheduler.leader SET term = 0",
        "UPDATE scheduler.leader SET term = -5",
        "UPDATE scheduler.leader SET term = term + 100",
        "UPDATE scheduler.leader SET nonce = 'stranger'",
        "UPDATE scheduler.leader SET nonce = NULL",
        "UPDATE scheduler.leader SET nonce = NULL, preferred_successor = 'stranger'",
        "UPDATE scheduler.leader SET term = 0, nonce = NULL, instance_id = NULL",
    ],
)
async def test_an_edited_leader_row_costs_a_term(scene: Scene, edit: str) -> None:
    before = scene.one("SELECT term FROM scheduler.leader")
    scene.sql.execute(edit)
    await new_term(scene, before)
    assert scene.said("leading no more: deposed")
    scene.nothing_broke()


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE scheduler.leader SET instance_id = 'stranger'",
        "UPDATE scheduler.leader SET acquired_at = 'infinity', witnessed = false",
        "DELETE FROM scheduler.leader_terms",
        "DELETE FROM scheduler.instances",
    ],
)
async def test_edits_that_cost_no_term(scene: Scene, edit: str) -> None:
    before = scene.one("SELECT term FROM scheduler.leader")
    scene.sql.execute(edit)
    await scene.fires("tick", 10)
    assert scene.one("SELECT term FROM scheduler.leader") == before
    scene.nothing_broke()


@pytest.mark.parametrize("term", ["coalesce(max(term), 0)", "0"])
async def test_a_leader_row_that_was_deleted_and_put_back(scene: Scene, redis_url: str, term: str) -> None:
    """Also with a number that was used before, and no lease that would know better."""
    before = scene.one("SELECT max(term) FROM scheduler.leader_terms")
    scene.sql.execute("DELETE FROM scheduler.leader")
    await scene.says("has lost its row: INSERT INTO scheduler.leader")
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"*{scene.sql.info.dbname}*"):
            client.delete(key)
    scene.sql.execute(f"INSERT INTO scheduler.leader (term) SELECT {term} FROM scheduler.leader_terms")
    await new_term(scene, before)
