"""Reverting a job to an earlier definition: by an operator, against code that would have it otherwise."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import (
    Calendar,
    Container,
    InvalidJobError,
    JobNotFoundError,
    JobVersionNotFoundError,
    ScheduleJob,
)
from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.engine.operations.jobs import Operations

Sql = psycopg.Connection[Any]

LOG = "SELECT version, action, reverted_to FROM scheduler_audit.job_changes WHERE job_id = 'j' ORDER BY version"


async def work() -> None: ...


def job(seconds: float, **policies: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", seconds, work, **policies)


class Deploys:
    """Processes of code, started one after the other."""

    def __init__(self, container: Container) -> None:
        self._storage = container.get_storage()
        self._count = 0

    async def start(self, *jobs: ScheduleJob, started_at: datetime | None = None) -> Operations:
        self._count += 1
        started_at = started_at or await self._storage.jobs.now()
        process = Operations(self._storage, f"process-{self._count}", Actor(Source.CODE, "us"), started_at)
        await process.declare([one.definition("UTC") for one in jobs])
        return process


@pytest.fixture
async def deploys(container: Container) -> Deploys:
    await container.prepare()
    return Deploys(container)


def seconds(sql: Sql) -> float:
    row = sql.execute("SELECT schedule_value FROM scheduler.jobs WHERE job_id = 'j'").fetchone()
    assert row is not None
    return float(row[0])


async def test_a_revert_brings_back_a_definition_and_is_a_change_itself(
    container: Container, deploys: Deploys, sql: Sql
) -> None:
    await deploys.start(job(100, tags=["old"], timeout=7))
    await deploys.start(job(200))
    operator = container.get_operations()
    await operator.pause("j", note="hands off")
    assert await operator.revert("j", 1)
    assert not await operator.revert("j", 1), "it is so already"
    row = sql.execute(
        "SELECT schedule_value, tags, timeout, pause_note, digest = %s FROM scheduler.jobs",
        [job(100, tags=["old"], timeout=7).definition("UTC").digest],
    ).fetchone()
    assert row == (100, ["old"], 7, "hands off", True)
    assert sql.execute(LOG).fetchall() == [
        (1, "added", None),
        (2, "changed", None),
        (3, "paused", None),
        (4, "reverted", 1),
    ]


async def test_the_same_code_does_not_undo_a_revert_and_other_code_does(
    container: Container, deploys: Deploys, sql: Sql
) -> None:
    await deploys.start(job(100))
    running = await deploys.start(job(200))
    await container.get_operations().revert("j", 1)
    await running.declare([job(200).definition("UTC")])
    await deploys.start(job(200))
    await deploys.start(job(200))
    assert seconds(sql) == 100
    assert sql.execute(LOG).fetchall()[-1] == (3, "reverted", 1), "and no version was used up for it"
    await deploys.start(job(300))
    assert seconds(sql) == 300
    await deploys.start(job(200))
    assert seconds(sql) == 200, "the new definition has ended the revert"


async def test_code_that_agrees_with_a_revert_ends_it(container: Container, deploys: Deploys, sql: Sql) -> None:
    await deploys.start(job(100))
    before = await container.get_storage().jobs.now()
    await deploys.start(job(200))
    await container.get_operations().revert("j", 1)
    await deploys.start(job(100), started_at=before)
    await deploys.start(job(200))
    assert seconds(sql) == 100, "a process from before the code that was reverted decides nothing"
    await deploys.start(job(100))
    await deploys.start(job(200))
    assert seconds(sql) == 200


async def test_a_revert_of_a_revert_gives_the_job_back_to_code(
    container: Container, deploys: Deploys, sql: Sql
) -> None:
    await deploys.start(job(100))
    await deploys.start(job(200))
    operator = container.get_operations()
    await operator.revert("j", 1)
    assert {"reverted"} == {row["kind"] for row in await container.get_audit().findings(overdue_seconds=1e6)}
    await operator.revert("j", 2)
    assert seconds(sql) == 200
    assert await container.get_audit().findings(overdue_seconds=1e6) == []
    await deploys.start(job(100))
    assert seconds(sql) == 100, "nothing is set aside any more"


async def test_an_operator_s_own_declaration_is_always_meant(container: Container, deploys: Deploys, sql: Sql) -> None:
    await deploys.start(job(100))
    await deploys.start(job(200))
    await container.get_operations().revert("j", 1)
    await container.get_operations().declare([job(200).definition("UTC")])
    assert seconds(sql) == 200


async def test_an_older_process_still_does_not_replace_newer_code_after_a_revert(
    container: Container, deploys: Deploys, sql: Sql
) -> None:
    """A rolling deploy in the middle of which somebody reverts: the order among the versions of code stays."""
    before = await container.get_storage().jobs.now()
    await deploys.start(job(100))
    await deploys.start(job(200))
    await container.get_operations().revert("j", 1)
    await deploys.start(job(50), started_at=before)
    assert seconds(sql) == 100


async def test_a_hand_edit_can_be_reverted(container: Container, deploys: Deploys, sql: Sql) -> None:
    await deploys.start(job(100))
    sql.execute("UPDATE scheduler.jobs SET schedule_value = '999'")
    assert await container.get_operations().revert("j", 1)
    assert seconds(sql) == 100
    assert sql.execute("SELECT set_aside FROM scheduler.jobs").fetchone() == (None,), "it is what code says"


async def test_what_can_t_be_reverted_says_why_and_changes_nothing(
    container: Container, deploys: Deploys, sql: Sql
) -> None:
    operator = container.get_operations()
    with pytest.raises(JobVersionNotFoundError, match="audit changes"):
        await operator.revert("j", 1)
    await container.get_calendars().put(Calendar("c"))
    await deploys.start(job(100, calendars=["c"]))
    await deploys.start(job(200))
    await container.get_calendars().remove("c")
    with pytest.raises(InvalidJobError, match="calendar 'c'"):
        await operator.revert("j", 1)
    await operator.remove("j")
    for version in (3, 99):
        with pytest.raises(JobVersionNotFoundError):
            await operator.revert("j", version)
    with pytest.raises(JobNotFoundError, match="there is no job"):
        await operator.revert("j", 2)
    assert len(sql.execute(LOG).fetchall()) == 3


async def test_a_false_claim_to_be_a_revert_is_logged_as_what_it_is(deploys: Deploys, sql: Sql) -> None:
    await deploys.start(job(100))
    with sql.transaction():
        sql.execute("SELECT set_config('scheduler.reverts_to', '1', true)")
        sql.execute("UPDATE scheduler.jobs SET max_retries = 9")
    assert sql.execute(LOG).fetchall()[-1] == (2, "changed", None)


async def test_a_revert_beside_a_firing_leader_leaves_nothing_unaccounted(container: Container, sql: Sql) -> None:
    await container.start()
    scheduler = container.get_scheduler()
    await scheduler.add_job(job(0.05))
    for interval in (0.03, 0.07):
        await scheduler.add_job(job(interval))
    for version in (1, 2, 3, 1):

        async def fired(version: int = version) -> bool:
            latest = sql.execute("SELECT max(version) FROM scheduler_audit.job_changes").fetchone()
            query = "SELECT count(*) FROM scheduler.runs WHERE definition_version = %s AND status = 'succeeded'"
            row = sql.execute(query, latest).fetchone()
            return row is not None and row[0] >= 3

        await eventually_async(fired)
        assert await scheduler.revert_job("j", version) or version == 3
    report = await container.get_auditor().gaps(AuditFilter())
    assert report.is_clean
    assert report.expected > 0, "what is younger than a moment is not looked at yet"
    assert report.until - report.since > timedelta(0)
