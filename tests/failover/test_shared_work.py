"""Every replica executes what is offered; executing replicas and leaders are killed: nothing missed, nothing twice."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from replicas import Replicas, witnessed
from waiting import eventually

PERIOD = "250 ms"

# What should have fired, by arithmetic of its own: every instant between a job's first run and its cursor.
UNACCOUNTED = f"""
WITH due AS (
    SELECT j.job_id, j.anchor + k * interval '{PERIOD}' AS scheduled_for
    FROM scheduler.jobs j,
         generate_series(1, (extract(epoch FROM j.next_run - j.anchor) / 0.25)::int - 1) AS k
)
SELECT d.job_id, d.scheduled_for FROM due d
WHERE NOT EXISTS (
    SELECT FROM scheduler_audit.runs r
    WHERE r.job_id = d.job_id
      AND d.scheduled_for BETWEEN coalesce(r.missed_from, r.scheduled_for) AND r.scheduled_for)
"""

TWICE = "SELECT job_id, scheduled_for FROM scheduler_audit.runs GROUP BY 1, 2 HAVING count(*) > 1"
ENDED = "SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded' AND scheduled_for > %s"
LOST = "SELECT job_id, scheduled_for FROM scheduler_audit.attempts WHERE outcome = 'lost'"
UNFINISHED = """
SELECT count(*) FROM scheduler.runs
WHERE status IN ('pending', 'queued', 'running', 'retrying') AND due_at < clock_timestamp() - interval '1 second'
"""


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.shared_work", tmp_path)
    yield made
    made.stop()


def wait_for_ends(sql: psycopg.Connection[Any], count: int) -> None:
    (now,) = sql.execute("SELECT clock_timestamp()").fetchone()  # type: ignore[misc]
    eventually(lambda: sql.execute(ENDED, [now]).fetchone()[0] >= count, within_seconds=30, what=f"{count} ends")  # type: ignore[index]


def test_every_replica_executes_but_one_that_is_told_not_to(
    replicas: Replicas, sql: psycopg.Connection[Any], environment: dict[str, str]
) -> None:
    executing = replicas.start(2, WORK_JOBS="20")
    (idle,) = replicas.start(1, WORK_JOBS="20", SCHEDULER_EXECUTES="false")
    replicas.wait_for(sql, 3)
    wait_for_ends(sql, 200)
    replicas.stop()
    shares = Counter(int(line.split()[0]) for line in witnessed(environment) if line.endswith("ended"))
    assert set(shares) == {process.pid for process in executing}
    assert idle.pid not in shares
    assert sql.execute(UNACCOUNTED).fetchall() == []
    assert sql.execute(TWICE).fetchall() == []
    executes = sql.execute(
        "SELECT pid, executes, slots FROM scheduler.instances ORDER BY executes NULLS LAST"
    ).fetchall()
    assert [row[1:] for row in executes] == [(["replicas"], 100), (["replicas"], 100), (None, None)]


def test_executing_replicas_and_leaders_are_killed_in_turn(
    replicas: Replicas, sql: psycopg.Connection[Any], environment: dict[str, str]
) -> None:
    replicas.start(3, WORK_SECONDS="0.05", SCHEDULER_LEASE_TTL="1")
    replicas.wait_for(sql, 3)
    killed: set[int] = set()
    for number in range(4):
        wait_for_ends(sql, 20)
        leader, _ = replicas.leader(sql)
        victim = (
            leader if number % 2 else next(p for p in replicas.processes if p.poll() is None and p.pid != leader.pid)
        )
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed.add(victim.pid)
        replicas.start(1, WORK_SECONDS="0.05", SCHEDULER_LEASE_TTL="1")
        replicas.wait_for(sql, 3)
    wait_for_ends(sql, 20)
    eventually(lambda: sql.execute(UNFINISHED).fetchone()[0] == 0, within_seconds=20, what="everything has ended")  # type: ignore[index]
    replicas.stop()

    assert sql.execute(UNACCOUNTED).fetchall() == []
    assert sql.execute(TWICE).fetchall() == []
    lost = {(job_id, instant.isoformat()) for job_id, instant in sql.execute(LOST).fetchall()}
    calls: dict[tuple[str, str], list[int]] = defaultdict(list)
    executing: dict[str, tuple[int, str]] = {}
    for line in witnessed(environment):
        pid, job_id, instant, word = line.split()
        if word == "began":
            calls[job_id, instant].append(int(pid))
            if job_id != "threaded":
                before = executing.get(job_id)
                assert before is None or before[0] in killed, f"{job_id}: {before} had not ended before {line}"
            executing[job_id] = (int(pid), instant)
        else:
            executing.pop(job_id, None)
    again = {fire: pids for fire, pids in calls.items() if len(pids) > 1}
    assert all(set(pids[:-1]) <= killed for pids in again.values()), "only what was killed is called again"
    assert set(again) <= lost, "each second call has its reason in the record"
    assert not [fire for fire in again if fire[0] == "once-at-most"]
    reasons = sql.execute(
        "SELECT DISTINCT job_id, status, reason FROM scheduler.runs WHERE status IN ('lost', 'failed')"
    )
    assert set(reasons.fetchall()) <= {("once-at-most", "lost", "owner_died")}
