"""Runs whose owner died: taken over, counted, and never executed again where that is not allowed."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from replicas import Replicas, witnessed
from waiting import eventually

Sql = psycopg.Connection[Any]


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.deadly", tmp_path)
    yield made
    made.stop()


def run_of(sql: Sql, job_id: str) -> tuple[str, str | None, int, int]:
    row = sql.execute(
        "SELECT status, reason, attempts, deliveries FROM scheduler_audit.runs WHERE job_id = %s", [job_id]
    ).fetchone()
    assert row is not None, job_id
    return row  # type: ignore[return-value]


def attempts_of(sql: Sql, job_id: str) -> list[tuple[int, str]]:
    return sql.execute(
        "SELECT attempt, outcome FROM scheduler_audit.attempts WHERE job_id = %s ORDER BY started_at, attempt", [job_id]
    ).fetchall()


def running(sql: Sql) -> set[str]:
    rows = sql.execute("SELECT job_id FROM scheduler_audit.runs WHERE status = 'running'").fetchall()
    return {job_id for (job_id,) in rows}


def test_what_a_dead_leader_had_begun_follows_its_delivery_policy(
    replicas: Replicas, sql: Sql, environment: dict[str, str]
) -> None:
    lingering = {"lingers", "lingers-once", "lingers-locked"}
    replicas.start(2, SCHEDULER_LEASE_TTL="1")
    replicas.wait_for(sql, 2)
    eventually(lambda: running(sql) == lingering, what="three runs under way")
    # An at_most_once run is marked before its callback is called.
    eventually(lambda: {line.split()[0] for line in witnessed(environment)} >= lingering, what="their calls")
    eventually(lambda: run_of(sql, "waits-to-retry")[0] == "retrying")
    leader, _ = replicas.leader(sql)
    leader.send_signal(signal.SIGKILL)
    leader.wait()

    eventually(lambda: run_of(sql, "lingers")[0] == "succeeded", within_seconds=30)
    assert run_of(sql, "lingers")[2:] == (1, 1)
    assert attempts_of(sql, "lingers") == [(1, "lost"), (1, "succeeded")]

    # ShedLock #596 and its like: the lock of the dead does not hold up its successor, whatever its TTL.
    eventually(lambda: run_of(sql, "lingers-locked")[0] == "succeeded", within_seconds=30)

    assert run_of(sql, "lingers-once")[:2] == ("lost", "owner_died")
    calls = Counter(line.split()[0] for line in witnessed(environment))
    assert calls["lingers-once"] == 1
    assert calls["lingers"] == 2

    # The successor goes on counting and waiting where the dead leader stopped.
    eventually(lambda: run_of(sql, "waits-to-retry")[0] == "succeeded", within_seconds=30)
    assert run_of(sql, "waits-to-retry")[2:] == (2, 0)
    assert attempts_of(sql, "waits-to-retry") == [(1, "failed"), (2, "succeeded")]
    assert sql.execute("SELECT error_count FROM scheduler_audit.jobs WHERE job_id = 'waits-to-retry'").fetchone() == (
        1,
    )


def test_a_callback_that_kills_its_process_does_not_kill_every_replica_in_turn(
    replicas: Replicas, sql: Sql, environment: dict[str, str]
) -> None:
    replicas.start(5, SCHEDULER_LEASE_TTL="1")
    replicas.wait_for(sql, 5)
    for marker in ("lingers", "lingers-once", "lingers-locked"):
        sql.execute("DELETE FROM scheduler.jobs WHERE job_id = %s", [marker])
    # A replica takes part before it declares, so the leader's jobs may come a moment after it leads.
    made_due = "UPDATE scheduler.jobs SET next_run = now(), due_at = now() WHERE job_id = 'suicidal'"
    eventually(lambda: sql.execute(made_due).rowcount, what="the job is declared")
    sql.execute("SELECT pg_notify('scheduler_nudge', 'scheduler:suicidal')")
    eventually(lambda: sql.execute("SELECT 1 FROM scheduler_audit.runs WHERE job_id = 'suicidal'").fetchone())
    eventually(lambda: run_of(sql, "suicidal")[0] == "failed", within_seconds=60)
    assert run_of(sql, "suicidal")[1:] == ("owner_died", 0, 3)
    deaths = [line.split()[2] for line in witnessed(environment) if line.startswith("suicidal")]
    assert len(set(deaths)) == 3
    assert sum(process.poll() is None for process in replicas.processes) == 2
