"""Callbacks that are called in other processes than the leader's: the same promises, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import scheduler
from replicas import Replicas, witnessed
from test_recovery import attempts_of
from waiting import eventually

Sql = psycopg.Connection[Any]


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    variables = {"EXECUTOR": "process", "SCHEDULER_PROCESS_WORKERS": "2", "SCHEDULER_LEASE_TTL": "1"}
    made = Replicas(environment | variables, "apps.elsewhere", tmp_path)
    yield made
    made.stop()


def status(sql: Sql, job_id: str) -> str | None:
    row = sql.execute("SELECT status FROM scheduler_audit.runs WHERE job_id = %s", [job_id]).fetchone()
    return row[0] if row else None


def calls(environment: dict[str, str], job_id: str) -> list[int]:
    """The processes that called a job's callback, in turn."""
    return [int(line.split()[2]) for line in witnessed(environment) if line.split()[0] == job_id]


def trigger(environment: dict[str, str], folder: Path, job_id: str) -> None:
    done = scheduler("jobs", "trigger", job_id, environment=environment, folder=folder)
    assert done.returncode == 0, done.stderr


def test_attempts_in_other_processes_end_as_they_would_here(
    replicas: Replicas, sql: Sql, environment: dict[str, str]
) -> None:
    replicas.start(1)
    replicas.wait_for(sql, 1)
    for job_id in ("plain", "coroutine", "fails"):
        eventually(lambda job_id=job_id: status(sql, job_id) == "succeeded", what=job_id)
    assert attempts_of(sql, "fails") == [(1, "failed"), (2, "failed"), (3, "succeeded")]
    eventually(lambda: status(sql, "hopeless") == "failed")
    assert attempts_of(sql, "hopeless") == [(1, "failed"), (2, "failed")]
    eventually(lambda: status(sql, "slow") == "failed")
    assert attempts_of(sql, "slow") == [(1, "timeout")]
    called = {pid for job_id in ("plain", "coroutine", "fails") for pid in calls(environment, job_id)}
    assert called.isdisjoint(process.pid for process in replicas.processes)
    counters = "SELECT run_count, error_count, consecutive_failures FROM scheduler_audit.jobs WHERE job_id = %s"
    assert sql.execute(counters, ["fails"]).fetchone() == (1, 2, 0)
    assert sql.execute(counters, ["hopeless"]).fetchone() == (1, 2, 1)
