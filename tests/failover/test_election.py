"""Who may lead, and what must not keep a successor from leading."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import Running
from replicas import LEADER_PID, Replicas, witnessed
from test_faults import Stage, stage  # noqa: F401 - a fixture
from test_kill import FIRST_FIRE
from waiting import eventually

Sql = psycopg.Connection[Any]


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.ticking", tmp_path)
    yield made
    made.stop()


def end_reason(sql: Sql, term: int) -> str | None:
    row = sql.execute("SELECT end_reason FROM scheduler_audit.leadership WHERE term = %s", [term]).fetchone()
    return None if row is None else row[0]


def kill(process: Running) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_session_that_holds_the_leaders_row_keeps_no_successor_out(
    replicas: Replicas, sql: Sql, database_url: str
) -> None:
    """A replica that was stopped in the middle of a claim leaves its transaction, and its FOR SHARE, behind."""
    replicas.start(2)
    replicas.wait_for(sql, 2)
    leader, term = replicas.leader(sql)
    with psycopg.connect(database_url) as zombie:
        zombie.execute("SELECT FROM scheduler.leader FOR SHARE")
        kill(leader)
        eventually(lambda: sql.execute(FIRST_FIRE, [term]).fetchone()[0])  # type: ignore[index]
        with pytest.raises(psycopg.OperationalError):
            zombie.execute("SELECT 1")


def test_a_replica_that_is_not_eligible_never_leads(replicas: Replicas, sql: Sql) -> None:
    """sidekiq #6822, choose who may lead."""
    [bystander] = replicas.start(1, SCHEDULER_ELIGIBLE="false")
    eventually(lambda: sql.execute("SELECT 1 FROM scheduler.instances WHERE pid = %s", [bystander.pid]).fetchone())
    [first] = replicas.start(1)
    replicas.wait_for(sql, 2)
    assert replicas.leader(sql)[0] is first
    kill(first)
    [second] = replicas.start(1)
    eventually(lambda: (sql.execute(LEADER_PID).fetchone() or (0,))[0] == second.pid)
    leaders = "SELECT DISTINCT i.pid FROM scheduler.leader_terms JOIN scheduler.instances i USING (instance_id)"
    assert bystander.pid not in {pid for (pid,) in sql.execute(leaders).fetchall()}
    assert bystander.poll() is None


def test_under_stop_nothing_fires_without_redis(
    stage: Stage,  # noqa: F811
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """`redis_outage = "stop"`: no lease, no fires; and all of it again once Redis is back."""
    assert stage.servers.redis is not None
    stage.replicas.stop()
    stage.replicas.processes.clear()
    stage.replicas.start(2, SCHEDULER_REDIS_OUTAGE="stop", SCHEDULER_LEASE_TTL="1")
    with stage.sql() as sql:
        stage.replicas.wait_for(sql, 2)
        latest = "SELECT max(started_at) FROM scheduler_audit.runs"
        since = "SELECT extract(epoch FROM clock_timestamp() - max(started_at)) FROM scheduler_audit.runs"
        stage.servers.redis.kill()
        eventually(lambda: sql.execute(since).fetchone()[0] > 1.5, what="nothing fires")  # type: ignore[index]
        stopped_at = sql.execute(latest).fetchone()[0]  # type: ignore[index]
        stage.servers.redis.start()
        stage.fires_after(stopped_at)
    stage.settle()


def test_behind_a_transaction_pooler_the_lease_alone_tells(
    replicas: Replicas, sql: Sql, pooled_url: str, tmp_path: Path
) -> None:
    """oban #1488, a node behind a pooler that took itself for the leader for 19 days."""
    replicas.start(2, SCHEDULER_CONTROL_DATABASE_URL=pooled_url, SCHEDULER_LEASE_TTL="1")
    living = "SELECT count(*) FROM scheduler.instances WHERE ended_at IS NULL AND life_key IS NULL"
    eventually(lambda: sql.execute(living).fetchone() == (2,), what="two replicas without witnesses")
    pids = "SELECT i.pid, l.term FROM scheduler.leader l JOIN scheduler.instances i USING (instance_id)"
    eventually(lambda: sql.execute(FIRST_FIRE, [0]).fetchone()[0])  # type: ignore[index]
    pid, term = sql.execute(pids).fetchone()  # type: ignore[misc]
    kill(next(process for process in replicas.processes if process.pid == pid))
    eventually(lambda: sql.execute(FIRST_FIRE, [term]).fetchone()[0])  # type: ignore[index]
    assert end_reason(sql, term) == "lease silent"
    logs = "".join(path.read_text() for path in tmp_path.glob("replica-*.log"))
    assert "a transaction pooler stands before Postgres" in logs.replace("\n", " ")


@pytest.mark.parametrize(("stall_timeout", "deposed"), [("1.5", True), ("60", False)])
def test_a_wedged_loop_is_deposed_and_a_blocked_one_is_not(
    replicas: Replicas, sql: Sql, environment: dict[str, str], stall_timeout: str, deposed: bool
) -> None:
    """river #1251 (a stalled begin halts the rest), sidekiq #3163 (dead for days, unnoticed)."""
    replicas.app = "apps.blocking"
    replicas.start(2, SCHEDULER_LEASE_TTL="1", SCHEDULER_STALL_TIMEOUT=stall_timeout, BLOCKED_SECONDS="6")
    eventually(lambda: any(line.startswith("blocks") for line in witnessed(environment)))
    blocked = next(int(line.split()[1]) for line in witnessed(environment) if line.startswith("blocks"))
    eventually(lambda: any(line.startswith("returned") for line in witnessed(environment)))
    eventually(lambda: witnessed(environment)[-1].startswith("tick"), what="somebody fires")
    lines = witnessed(environment)
    meanwhile = lines[lines.index(f"blocks {blocked}") : lines.index(f"returned {blocked}")]
    others = [line for line in meanwhile if line.startswith("tick") and not line.endswith(f" {blocked}")]
    ends = {reason for (reason,) in sql.execute("SELECT end_reason FROM scheduler_audit.leadership").fetchall()}
    # On a machine that is busy a leader may be suspected of death as well.
    was_suspected = "lease silent" in ends
    assert bool(others) == deposed or was_suspected
    assert ("stalled" in ends) == deposed or was_suspected
    run = "SELECT status, deliveries FROM scheduler_audit.runs WHERE job_id = 'blocks'"
    eventually(lambda: sql.execute(run).fetchone() == ("succeeded", 0), what="its owner lives, and may finish it")
    assert sum(line.startswith("blocks") for line in witnessed(environment)) == 1, "nobody else was blocked by it"
    assert all(process.poll() is None for process in replicas.processes)


def test_a_leader_killed_exactly_on_a_due_instant_loses_nothing(
    replicas: Replicas, sql: Sql, environment: dict[str, str]
) -> None:
    """sidekiq #6758, a dozen jobs lost to a gap of 8 ms between leaders; oban-py #32, identity by hostname."""
    replicas.app = "apps.each_second"
    replicas.start(3, SCHEDULER_INSTANCE_NAME="one-host")
    replicas.wait_for(sql, 3)
    eventually(lambda: witnessed(environment))
    first = int(witnessed(environment)[0].split()[1])
    for _ in range(2):
        leader, term = replicas.leader(sql)
        time.sleep(1 - time.time() % 1)  # the instant itself is the event
        kill(leader)
        eventually(lambda term=term: sql.execute(FIRST_FIRE, [term]).fetchone()[0])  # type: ignore[index]
    enough = len(witnessed(environment)) + 2
    eventually(lambda: len(witnessed(environment)) >= enough)
    replicas.stop()

    called = {int(line.split()[1]) for line in witnessed(environment)}
    assert called >= set(range(first, max(called) + 1)), "no second is missing"
    assert sql.execute("SELECT count(DISTINCT instance_id) FROM scheduler.instances").fetchone() == (3,)
