"""Redis is silent, answers with errors, forgets, or holds what nobody of ours put there: somebody leads, and soon."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from redis_troubles import TROUBLES
from replicas import Replicas
from test_faults import Stage, now, stage  # noqa: F401 - a fixture
from test_kill import FIRST_FIRE
from waiting import eventually

from scheduler_core.storage.embedded import PostgresServer

TERM = "SELECT term FROM scheduler.leader WHERE nonce IS NOT NULL"

END_REASON = "SELECT end_reason FROM scheduler.leader_terms WHERE term = %s"


def lease_key(server: redis.Redis) -> str:
    [key] = eventually(lambda: server.keys("scheduler:lease:*"), what="the lease")
    return str(key.decode())


def first_fire_after_kill(on: Stage) -> float:
    """Kill the leader; how long after the kill its successor fired, in seconds, by the database's clock."""
    with on.sql() as sql:
        leader, term = on.replicas.leader(sql)
        leader.send_signal(signal.SIGKILL)
        killed_at = now(sql)
        leader.wait()
        fired_at = eventually(lambda: sql.execute(FIRST_FIRE, [term]).fetchone()[0])  # type: ignore[index]
        return float((fired_at - killed_at).total_seconds())


@contextmanager
def _silent(on: Stage, _server: redis.Redis, _key: str) -> Iterator[None]:
    """It swallows what it is sent: stopped, its kernel goes on taking packets."""
    assert on.servers.redis is not None
    on.servers.redis.signal(signal.SIGSTOP)
    yield
    on.servers.redis.signal(signal.SIGCONT)


@contextmanager
def _answering(on: Stage, server: redis.Redis, key: str, *, code: str) -> Iterator[None]:
    with TROUBLES[code](server, key):
        yield


@contextmanager
def _immortal(_on: Stage, server: redis.Redis, key: str) -> Iterator[None]:
    """A hand has written the lease, without an end, and a term that leaves no room above."""
    server.hset(key, "token", "x")
    server.persist(key)
    (memory,) = server.keys("scheduler:terms:*")
    server.hset(memory, "term", 2**63 - 2)
    yield


Trouble = Callable[[Stage, redis.Redis, str], AbstractContextManager[None]]

KINDS: dict[str, Trouble] = {
    "silent": _silent,
    "NOREPLICAS": partial(_answering, code="NOREPLICAS"),
    "WRONGTYPE": partial(_answering, code="WRONGTYPE"),
    "NOPERM": partial(_answering, code="NOPERM"),
}


def test_a_leader_killed_while_redis_is_no_help_is_replaced_at_once(stage: Stage) -> None:  # noqa: F811
    """redis #8623. A replica that starts meanwhile takes part.

    Postgres's word is enough: the term ends as the witness falls, and not once a lease has been silent for a TTL. How
    long that takes is measured by the drill.
    """
    with redis.Redis.from_url(stage.servers.redis_url) as server:
        ended = {}
        for kind, trouble in KINDS.items():
            with stage.sql() as sql:
                stage.replicas.wait_for(sql, 2)
            key = lease_key(server)
            server.delete(key) if kind == "WRONGTYPE" else None
            with trouble(stage, server, key):
                # What makes the trouble is known once somebody has asked.
                with stage.sql() as sql:
                    stage.fires_after(now(sql))
                    _, term = stage.replicas.leader(sql)
                first_fire_after_kill(stage)
                with stage.sql() as sql:
                    ended[kind] = sql.execute(END_REASON, [term]).fetchone()
                if kind != "silent":
                    stage.replicas.start(1)
                    with stage.sql() as sql:
                        stage.replicas.wait_for(sql, 2)
            if kind == "silent":
                stage.replicas.start(1)
    assert ended == dict.fromkeys(KINDS, ("witness fell",))
    with stage.sql() as sql:
        assert sql.execute("SELECT max(term) < 1000 FROM scheduler.leader_terms").fetchone() == (True,)
    stage.settle()


def test_what_a_hand_wrote_over_the_lease_deposes_nobody_and_is_outlived(stage: Stage) -> None:  # noqa: F811
    """A lease without an end, and a term near 2^63."""
    with redis.Redis.from_url(stage.servers.redis_url) as server, stage.sql() as sql:
        _, term = stage.replicas.leader(sql)
        key = lease_key(server)
        with _immortal(stage, server, key):
            eventually(lambda: server.hget(key, "token") != b"x", what="the leader has its lease again")
        assert stage.replicas.leader(sql)[1] == term
        with _immortal(stage, server, key):
            first_fire_after_kill(stage)
            eventually(lambda: server.hget(key, "token") not in (b"x", None), what="the successor has a lease")
        assert term < sql.execute(TERM).fetchone()[0] < term + 10  # type: ignore[index]
    logs = "".join(path.read_text() for path in stage.replicas.logs.glob("replica-*.log"))
    assert "which can't be" in logs.replace("\n", " ")
    assert "(token 'x')" in logs
    stage.settle()


@contextmanager
def _copy_of(servers_folder: Path, postgres: PostgresServer, to: Path) -> Iterator[PostgresServer]:
    """Postgres on a copy of its files, as a snapshot of its disk would be."""
    postgres.kill()
    shutil.copytree(servers_folder, to, symlinks=True)
    postgres.start()
    for path in to.rglob("postmaster.pid"):
        path.unlink()
    with PostgresServer(to) as copy:
        assert copy.port != postgres.port
        yield copy


def test_a_copy_of_the_database_on_the_same_redis_leaves_the_original_alone(
    stage: Stage,  # noqa: F811
    tmp_path: Path,
) -> None:
    """pawtograder #927: staging took production's lease, and production was silent."""
    assert stage.servers.postgres is not None
    with _copy_of(stage.servers.data_dir, stage.servers.postgres, tmp_path / "copy") as postgres:
        with stage.sql() as sql:
            stage.fires_after(now(sql))
            term = sql.execute(TERM).fetchone()
        environment = stage.replicas.environment | {"SCHEDULER_DATABASE_URL": postgres.url}
        (tmp_path / "staging").mkdir()
        staging = Replicas(environment, "apps.ticking", tmp_path / "staging")
        try:
            staging.start(1)
            with psycopg.connect(postgres.url, autocommit=True) as copied, stage.sql() as sql:
                staging.wait_for(copied, 1)
                until = time.monotonic() + 4
                while time.monotonic() < until:
                    stage.fires_after(now(sql))
                assert sql.execute(TERM).fetchone() == term, "the original goes on under its term"
                eventually(lambda: copied.execute(FIRST_FIRE, [term[0]]).fetchone()[0])  # type: ignore[index]
            found = _doctors_findings(stage, stage.servers.database_url)
            assert any("another copy of this database" in detail for detail in found), found
        finally:
            staging.stop()
    stage.settle()


def _doctors_findings(on: Stage, database_url: str) -> list[str]:
    import json

    from commands import scheduler

    done = scheduler(
        "doctor",
        "--json",
        environment=on.replicas.environment | {"SCHEDULER_DATABASE_URL": database_url},
        folder=on.replicas.logs,
    )
    return [finding["detail"] for finding in json.loads(done.stdout)["findings"] if finding["kind"] == "lease"]


def test_a_lease_that_is_evicted_again_and_again_deposes_nobody(stage: Stage) -> None:  # noqa: F811
    """Five times a second, by a Redis whose memory is full."""
    with redis.Redis.from_url(stage.servers.redis_url) as server, stage.sql() as sql:
        _, term = stage.replicas.leader(sql)
        key = lease_key(server)
        until = time.monotonic() + 2 * 3.0
        evicted = 0
        while time.monotonic() < until:
            evicted += server.delete(key)
            time.sleep(0.2)  # the rate is what is tested
        assert evicted > 20
        assert stage.replicas.leader(sql)[1] == term
    stage.settle()


Sql = psycopg.Connection[Any]


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.ticking", tmp_path)
    yield made
    made.stop()


def test_an_operators_lock_on_the_replicas_table_deposes_nobody(
    replicas: Replicas, sql: Sql, database_url: str
) -> None:
    """Four TTLs of `LOCK TABLE instances`; a leader killed under it is replaced."""
    replicas.start(2, SCHEDULER_LEASE_TTL="1")
    replicas.wait_for(sql, 2)
    leader, term = replicas.leader(sql)
    started = "SELECT count(*) FROM scheduler.instances WHERE zone_release IS NOT NULL"
    eventually(lambda: sql.execute(started).fetchone() == (2,), what="both have said all of themselves")
    eventually(lambda: sql.execute(FIRST_FIRE, [0]).fetchone()[0])  # type: ignore[index]
    with psycopg.connect(database_url) as operator:
        operator.execute("LOCK TABLE scheduler.instances")
        until = time.monotonic() + 4
        count = "SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded'"
        while time.monotonic() < until:
            before = sql.execute(count).fetchone()
            eventually(lambda before=before: sql.execute(count).fetchone() != before, within_seconds=10)
        assert sql.execute(TERM).fetchone() == (term,)
        leader.send_signal(signal.SIGKILL)
        eventually(lambda: (sql.execute(TERM).fetchone() or (term,))[0] > term, what="a successor")


TOLD = "SELECT extract(epoch FROM leaderless_for), extract(epoch FROM acquired_at - %s) FROM scheduler.leader_terms"


def test_how_long_nobody_led_is_told_truly_after_failed_candidacies(stage: Stage) -> None:  # noqa: F811
    """It used to be counted from the last candidacy, and so told of milliseconds."""
    assert stage.servers.redis is not None
    stage.replicas.stop()
    stage.replicas.processes.clear()
    stage.replicas.start(2, SCHEDULER_REDIS_OUTAGE="stop", SCHEDULER_LEASE_TTL="1")
    with stage.sql() as sql:
        stage.replicas.wait_for(sql, 2)
        leader, term = stage.replicas.leader(sql)
        stage.servers.redis.signal(signal.SIGSTOP)
        leader.send_signal(signal.SIGKILL)
        leader.wait()
        died_at = now(sql)
        time.sleep(3)  # how long is what is told
        stage.servers.redis.signal(signal.SIGCONT)
        found = f"{TOLD} WHERE term > %s ORDER BY term LIMIT 1"
        told, true = eventually(lambda: sql.execute(found, [died_at, term]).fetchone())  # type: ignore[misc]
    assert abs(float(told) - float(true)) < 0.5, "the other one saw it die"


def test_how_long_nobody_led_is_known_to_one_that_was_not_there(replicas: Replicas, sql: Sql) -> None:
    replicas.start(1)
    replicas.wait_for(sql, 1)
    leader, term = replicas.leader(sql)
    eventually(lambda: sql.execute(FIRST_FIRE, [0]).fetchone()[0])  # type: ignore[index]
    leader.send_signal(signal.SIGKILL)
    leader.wait()
    died_at = now(sql)
    time.sleep(3)  # how long is what is told
    replicas.start(1)
    found = f"{TOLD} WHERE term = %s"
    told, true = eventually(lambda: sql.execute(found, [died_at, term + 1]).fetchone())  # type: ignore[misc]
    assert abs(float(told) - float(true)) < 1.5, "a sign of life is given each second"


def test_a_hung_leader_is_replaced_before_its_lease_has_run_out(replicas: Replicas, sql: Sql) -> None:
    """At default settings: beats of 100 ms, and a patience that is measured. It wakes and starts nothing."""
    replicas.start(3)
    replicas.wait_for(sql, 3)
    took = []
    for _ in range(3):
        leader, term = replicas.leader(sql)
        eventually(lambda term=term: sql.execute("SELECT 1 FROM scheduler.runs WHERE term = %s", [term]).fetchone())
        time.sleep(1)  # a leader whose beats are known
        leader.send_signal(signal.SIGSTOP)
        stopped_at = now(sql)
        fired_at = eventually(lambda term=term: sql.execute(FIRST_FIRE, [term]).fetchone()[0])  # type: ignore[index]
        took.append((fired_at - stopped_at).total_seconds())
        leader.send_signal(signal.SIGCONT)
        replicas.wait_for(sql, 3)
    assert min(took) < 2.5, "by the lease alone it can not be before 2.85 s"
