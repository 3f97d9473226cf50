"""A forked child must not keep the witness of its dead parent alive."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psycopg
from replicas import Replicas, witnessed
from test_kill import FIRST_FIRE
from waiting import eventually

LONG_TTL_SECONDS = 12
UPTIME = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())"


def test_a_child_that_outlives_the_leader_does_not_hold_its_seat(
    environment: dict[str, str], tmp_path: Path, sql: psycopg.Connection[Any]
) -> None:
    """The child inherits the control session's socket; it is closed there, or Postgres would see no death."""
    replicas = Replicas(environment, "apps.forking", tmp_path)
    children: list[int] = []
    try:
        replicas.start(2, SCHEDULER_LEASE_TTL=str(LONG_TTL_SECONDS), SCHEDULER_STALL_TIMEOUT="30")
        replicas.wait_for(sql, 2)
        eventually(lambda: witnessed(environment))
        # A witness that falls soon after a start of Postgres is no evidence yet.
        eventually(lambda: sql.execute(UPTIME).fetchone()[0] > LONG_TTL_SECONDS, within_seconds=30)  # type: ignore[index]
        children = [int(line.split()[1]) for line in witnessed(environment)]
        leader, term = replicas.leader(sql)
        # The parent's own connections still work after the fork.
        before = sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone()
        assert before is not None
        eventually(
            lambda: sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone()[0] > before[0] + 10  # type: ignore[index]
        )
        assert replicas.leader(sql)[1] == term
        leader.send_signal(signal.SIGKILL)
        leader.wait()
        eventually(lambda: sql.execute(FIRST_FIRE, [term]).fetchone()[0], within_seconds=40)  # type: ignore[index]
        reason = sql.execute("SELECT end_reason FROM scheduler_audit.leadership WHERE term = %s", [term]).fetchone()
        assert reason == ("witness fell",), "and not because the lease ran out"
        assert all(Path(f"/proc/{child}").exists() for child in children)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        replicas.stop()
