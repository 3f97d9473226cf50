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

from scheduler_core.runtime.child_processes import die_with_parent

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


def test_a_process_that_is_killed_is_one_failed_attempt(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    replicas.start(1)
    replicas.wait_for(sql, 1)
    leader, term = replicas.leader(sql)
    eventually(lambda: status(sql, "plain") == "succeeded")
    trigger(environment, tmp_path, "suicidal")
    trigger(environment, tmp_path, "suicidal-once")
    eventually(lambda: status(sql, "suicidal") == "succeeded")
    assert attempts_of(sql, "suicidal") == [(1, "failed"), (2, "succeeded")]
    error = sql.execute("SELECT error_message FROM scheduler_audit.attempts WHERE job_id = 'suicidal' AND attempt = 1")
    assert "signal 9" in error.fetchone()[0]  # type: ignore[index]
    eventually(lambda: status(sql, "suicidal-once") == "lost", what="nobody can tell how far it came")
    assert len(calls(environment, "suicidal-once")) == 1
    assert leader.poll() is None
    assert replicas.leader(sql) == (leader, term)


def test_a_leader_that_dies_leaves_running_work_alone(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    # A TTL that a busy machine does not take from those who live.
    replicas.start(2, SCHEDULER_LEASE_TTL="3")
    replicas.wait_for(sql, 2)
    trigger(environment, tmp_path, "lasts")
    eventually(lambda: status(sql, "lasts") == "running")
    eventually(lambda: calls(environment, "lasts"))
    (begun_in,) = sql.execute("SELECT term FROM scheduler_audit.runs WHERE job_id = 'lasts'").fetchone() or (None,)
    leader, term = replicas.leader(sql)
    leader.kill()
    leader.wait()
    eventually(lambda: replicas.leader(sql)[1] > term, what="a successor")
    # More than a TTL: what belonged to the dead leader would be lost by now, and begun again.
    buried = "SELECT FROM scheduler.leader WHERE acquired_at < clock_timestamp() - interval '4 s'"
    eventually(lambda: sql.execute(buried).fetchone() is not None, what="a term of 4 s")
    assert status(sql, "lasts") == "running"
    Path(environment["WITNESS_FILE"] + ".release").touch()
    eventually(lambda: status(sql, "lasts") == "succeeded")
    row = sql.execute("SELECT attempts, deliveries, term FROM scheduler_audit.runs WHERE job_id = 'lasts'").fetchone()
    assert row == (1, 0, begun_in)
    assert len(calls(environment, "lasts")) == 1
    (worker,) = calls(environment, "lasts")
    eventually(lambda: not Path(f"/proc/{worker}").exists(), what="the worker leaves with its leader's work")


def test_a_run_in_another_process_can_be_cancelled(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    replicas.start(1)
    replicas.wait_for(sql, 1)
    trigger(environment, tmp_path, "lasts")
    eventually(lambda: calls(environment, "lasts"))
    (run_id,) = sql.execute("SELECT run_id FROM scheduler_audit.runs WHERE job_id = 'lasts'").fetchone()  # type: ignore[misc]
    done = scheduler("runs", "cancel", str(run_id), environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    eventually(lambda: status(sql, "lasts") == "cancelled")
    assert attempts_of(sql, "lasts") == [(1, "cancelled")]


def test_a_run_that_waits_for_its_next_attempt_can_be_cancelled_and_keeps_nothing(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    replicas.start(1)
    replicas.wait_for(sql, 1)
    trigger(environment, tmp_path, "patient")
    eventually(lambda: status(sql, "patient") == "retrying")
    (run_id,) = sql.execute("SELECT run_id FROM scheduler_audit.runs WHERE job_id = 'patient'").fetchone()  # type: ignore[misc]
    done = scheduler("runs", "cancel", str(run_id), environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert status(sql, "patient") == "cancelled"
    trigger(environment, tmp_path, "patient")
    eventually(lambda: len(calls(environment, "patient")) == 2, what="the job's turn, which the first kept for an hour")
    eventually(lambda: attempts_of(sql, "patient") == [(1, "failed"), (1, "failed")], what="both attempts recorded")


def test_the_successor_has_what_waited_for_its_next_attempt_at_once(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    """The worker lives, and the run bears its name; nobody waits until that looks like silence."""
    long = ("LEASE_TTL", "STALL_TIMEOUT", "OVERDUE_AFTER")
    replicas.start(2, **{f"SCHEDULER_{name}": "120" for name in long})
    replicas.wait_for(sql, 2)
    trigger(environment, tmp_path, "patient")
    eventually(lambda: status(sql, "patient") == "retrying")
    _, term = replicas.leader(sql)
    done = scheduler("leader", "resign", environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    eventually(lambda: replicas.leader(sql)[1] > term, what="a successor")
    adopted = "SELECT FROM scheduler.runs WHERE job_id = 'patient' AND attempt = 1 AND term > %s"
    eventually(lambda: sql.execute(adopted, [term]).fetchone() is not None, what="adoption within less than a TTL")


def test_work_elsewhere_takes_no_room_from_work_here(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    replicas.start(1, SCHEDULER_MAX_CONCURRENT_RUNS="1")
    replicas.wait_for(sql, 1)
    trigger(environment, tmp_path, "lasts")
    eventually(lambda: calls(environment, "lasts"))
    trigger(environment, tmp_path, "here")
    eventually(lambda: status(sql, "here") == "succeeded")
    assert status(sql, "lasts") == "running"


def test_what_a_stop_finds_running_may_end(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    (replica,) = replicas.start(1)
    replicas.wait_for(sql, 1)
    trigger(environment, tmp_path, "lasts")
    eventually(lambda: calls(environment, "lasts"))
    replica.send_signal(signal.SIGTERM)
    eventually(lambda: sql.execute("SELECT FROM scheduler.leader WHERE nonce IS NULL").fetchone() is not None)
    assert replica.poll() is None
    Path(environment["WITNESS_FILE"] + ".release").touch()
    assert replica.wait(30) == 0
    assert status(sql, "lasts") == "succeeded"


@pytest.fixture
def cluster(environment: dict[str, str], tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(environment | {"EXECUTOR": "dask", "SCHEDULER_APP": "apps.elsewhere"}, tmp_path)
    yield made
    made.stop()


class Cluster:
    """A Dask scheduler and its workers, as an operator starts them."""

    def __init__(self, environment: dict[str, str], logs: Path) -> None:
        self._environment = environment
        self._logs = logs
        self.workers: list[subprocess.Popen[bytes]] = []
        file = logs / "dask.json"
        words = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        self._scheduler = self._start("dask-scheduler", *words)
        self.address: str = eventually(lambda: self._read_address(file), what="the Dask scheduler")  # type: ignore[assignment]

    @staticmethod
    def _read_address(file: Path) -> str | None:
        try:
            return str(json.loads(file.read_text())["address"])
        except (OSError, ValueError):
            return None

    def start_worker(self) -> subprocess.Popen[bytes]:
        words = ("worker", self.address, "--host", "127.0.0.1", "--nthreads", "100", "--no-nanny", "--no-dashboard")
        worker = self._start(f"dask-worker-{len(self.workers)}", *words)
        self.workers.append(worker)
        return worker

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "dask", *words]
            return subprocess.Popen(
                command,
                env=self._environment,
                stdout=log,
                stderr=log,
                cwd=self._logs,
                preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
            )

    def stop(self) -> None:
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()


HUNDRED = """
INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version)
SELECT gen_random_uuid(), 'many', 'many', clock_timestamp() - n * interval '1 ms', clock_timestamp(), 'trigger',
       'pending', version
FROM scheduler.jobs, generate_series(1, 100) AS n WHERE job_id = 'many'
"""


def test_a_dask_worker_dies_with_a_hundred_runs(
    cluster: Cluster, environment: dict[str, str], sql: Sql, tmp_path: Path
) -> None:
    """Each ends recorded, and none is called twice beyond its policy."""
    first = cluster.start_worker()
    variables = {"EXECUTOR": "dask", "SCHEDULER_DASK_ADDRESS": cluster.address, "SCHEDULER_LEASE_TTL": "1"}
    replicas = Replicas(environment | variables, "apps.elsewhere", tmp_path)
    try:
        replicas.start(2)
        replicas.wait_for(sql, 2)
        eventually(lambda: status(sql, "fails") == "succeeded", what="three attempts")
        assert attempts_of(sql, "fails") == [(1, "failed"), (2, "failed"), (3, "succeeded")]
        sql.execute(HUNDRED)
        eventually(lambda: len(calls(environment, "many")) == 100, what="a hundred calls")
        assert set(calls(environment, "many")) == {first.pid}
        running = "SELECT count(*) FROM scheduler_audit.runs WHERE job_id = 'many' AND status = %s"
        assert sql.execute(running, ["running"]).fetchone() == (100,)
        second = cluster.start_worker()
        first.kill()
        first.wait()
        Path(environment["WITNESS_FILE"] + ".release").touch()
        eventually(lambda: sql.execute(running, ["succeeded"]).fetchone() == (100,), what="a hundred ends")
        by_worker = Counter(calls(environment, "many"))
        assert by_worker == {first.pid: 100, second.pid: 100}
        lost = """
            SELECT count(*), count(DISTINCT run_id) FROM scheduler_audit.attempts
            WHERE job_id = 'many' AND outcome = 'lost'
        """
        assert sql.execute(lost).fetchone() == (100, 100)
        deliveries = "SELECT DISTINCT attempts, deliveries FROM scheduler_audit.runs WHERE job_id = 'many'"
        assert sql.execute(deliveries).fetchall() == [(1, 1)]
    finally:
        replicas.stop()
