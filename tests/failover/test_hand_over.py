"""Replicas with different code: a run waits for a replica that can call it, and leadership goes there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from replicas import Replicas, witnessed
from test_kill import TWICE, UNACCOUNTED
from waiting import eventually

SUCCEEDED = "SELECT count(*) FROM scheduler_audit.runs WHERE job_id = %s AND status = 'succeeded'"

PARTS = UNACCOUNTED.replace("FROM scheduler.jobs j,", "FROM (SELECT * FROM scheduler.jobs WHERE job_id ~ 'tick') AS j,")


def count(sql: psycopg.Connection[Any], statement: str, *arguments: object) -> int:
    row = sql.execute(statement, arguments).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def made(environment: dict[str, str], tmp_path: Path) -> Iterator[list[Replicas]]:
    """Groups of replicas that a test starts; all are stopped with it."""
    groups: list[Replicas] = []
    yield groups
    for group in groups:
        group.stop()


def test_three_replicas_are_rolled_over_while_jobs_fire(
    made: list[Replicas], environment: dict[str, str], sql: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """good_job #1484 (a deploy swallowed a tick), river #342 (a new job meets an old leader)."""
    deployed = Replicas(environment, "apps.versioned", tmp_path)
    made.append(deployed)
    old = deployed.start(3)
    deployed.wait_for(sql, 3)
    leader, _ = deployed.leader(sql)
    # The leader goes last: it meets the new job, which it can't call, and must hand over.
    for leaving in [*(process for process in old if process is not leader), leader]:
        [fresh] = deployed.start(1, DEPLOYED_VERSION="2")
        eventually(
            lambda fresh=fresh: count(
                sql, "SELECT count(*) FROM scheduler.instances WHERE pid = %s AND ended_at IS NULL", fresh.pid
            )
        )
        if leaving is leader:
            eventually(lambda: count(sql, SUCCEEDED, "newcomer") > 0, what="somebody leads who can call the new job")
        leaving.send_signal(signal.SIGTERM)
        assert leaving.wait(30) == 0
    eventually(lambda: count(sql, SUCCEEDED, "newcomer") >= 5)
    deployed.stop()

    assert sql.execute(PARTS).fetchall() == []
    assert sql.execute(TWICE).fetchall() == []
    definitions = sql.execute("SELECT DISTINCT name, max_retries, version FROM scheduler.jobs WHERE job_id ~ 'tick'")
    assert definitions.fetchall() == [("tick of version 2", 2, 2)], "edited once, and no old replica took it back"
    assert count(sql, "SELECT count(*) FROM scheduler_audit.runs WHERE status = 'failed'") == 0
    by_newcomer = [line for line in witnessed(environment) if line.startswith("newcomer")]
    assert {line.split()[2] for line in by_newcomer} == {"2"}, "only new code calls the new job"
    reasons = sql.execute("SELECT end_reason FROM scheduler_audit.leadership ORDER BY term").fetchall()
    # Or a machine that was busy with their start had them suspect the leader of death, before it met the job.
    assert {("handed over for a callback",), ("lease silent",)} & set(reasons)


def test_two_services_that_know_nothing_of_each_other_take_turns(
    made: list[Replicas], environment: dict[str, str], sql: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """river #342, jobs declared on one service vanish when another leads."""
    services = [
        Replicas(environment | {"SERVICE": name, "SCHEDULER_LEASE_TTL": "1"}, "apps.one_of_two", tmp_path)
        for name in ("billing", "storage")
    ]
    for number, service in enumerate(services):
        service.logs = tmp_path / str(number)
        service.logs.mkdir()
        made.append(service)
        service.start()
    for job_id in ("invoice", "backup") * 2:
        before = count(sql, SUCCEEDED, job_id)
        eventually(lambda job_id=job_id, before=before: count(sql, SUCCEEDED, job_id) > before, within_seconds=30)
    assert sql.execute(TWICE).fetchall() == []
