"""A role that may only log in stands in line for every witness, and the leader is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from logins import in_line, login
from replicas import Replicas
from waiting import eventually

TTL_SECONDS = 3
RUNNING = "SELECT instance_id FROM scheduler.runs WHERE job_id = 'lasting' AND status = 'running'"


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment | {"SCHEDULER_LEASE_TTL": str(TTL_SECONDS)}, "apps.lasting", tmp_path)
    yield made
    made.stop()


def test_the_next_replica_leads_before_a_ttl_is_over_and_takes_the_run(
    replicas: Replicas, sql: psycopg.Connection[Any], environment: dict[str, str]
) -> None:
    replicas.start(2)
    replicas.wait_for(sql, 2)
    [owner] = eventually(lambda: sql.execute(RUNNING).fetchone(), what="the run goes on")
    leader, term = replicas.leader(sql)
    with login(sql, "stranger") as role, in_line(sql, role):
        leader.send_signal(signal.SIGKILL)
        leader.wait()
        died = time.monotonic()
        eventually(lambda: sql.execute("SELECT 1 FROM scheduler.leader WHERE term > %s", [term]).fetchone())
        assert time.monotonic() - died < TTL_SECONDS / 2
        again = f"{RUNNING} AND instance_id <> '{owner}'"
        eventually(lambda: sql.execute(again).fetchone(), what="the run goes on elsewhere")
    Path(f"{environment['WITNESS_FILE']}.release").touch()
    ended = "SELECT 1 FROM scheduler.runs WHERE job_id = 'lasting' AND status = 'succeeded'"
    eventually(lambda: sql.execute(ended).fetchone())
