"""Faults beside kill -9, each on servers of its own: nothing is missed, nothing has two rows, and somebody leads."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from replicas import Replicas, witnessed
from test_kill import FIRST_FIRE, TWICE, UNACCOUNTED
from waiting import eventually

from scheduler_core.storage import embedded
from scheduler_core.storage.postgres import migrate

LEASE_TTL_SECONDS = 3.0
LATEST_START = "SELECT max(started_at) FROM scheduler_audit.runs"


class Stage:
    """Servers of this test's own, and replicas on them."""

    def __init__(self, servers: embedded.EmbeddedServers, replicas: Replicas) -> None:
        self.servers = servers
        self.replicas = replicas

    def sql(self) -> psycopg.Connection[Any]:
        """A fresh connection: the last one may have died with a server."""
        return psycopg.connect(self.servers.database_url, autocommit=True)

    def fires_after(self, instant: Any, *, within_seconds: float = 30) -> None:
        """Wait until a run has started after an instant of the database's."""

        def ask() -> bool:
            try:
                with self.sql() as sql:
                    return bool(sql.execute(f"SELECT ({LATEST_START}) > %s", [instant]).fetchone()[0])  # type: ignore[index]
            except psycopg.OperationalError:
                return False

        eventually(ask, within_seconds=within_seconds, what="a fire after the fault")

    def settle(self) -> None:
        """Stop everybody and check the record."""
        self.replicas.stop()
        with self.sql() as sql:
            assert sql.execute(UNACCOUNTED).fetchall() == []
            assert sql.execute(TWICE).fetchall() == []


@pytest.fixture
def stage(environment: dict[str, str], tmp_path: Path) -> Iterator[Stage]:
    with embedded.start(tmp_path / "servers") as servers:
        migrate.upgrade(servers.database_url)
        own = environment | {"SCHEDULER_DATABASE_URL": servers.database_url, "SCHEDULER_REDIS_URL": servers.redis_url}
        replicas = Replicas(own, "apps.ticking", tmp_path)
        replicas.start(2)
        with psycopg.connect(servers.database_url, autocommit=True) as sql:
            replicas.wait_for(sql, 2)
            eventually(lambda: sql.execute(LATEST_START).fetchone()[0])  # type: ignore[index]
        yield Stage(servers, replicas)
        for process in replicas.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        replicas.stop()


def now(sql: psycopg.Connection[Any]) -> Any:
    return sql.execute("SELECT clock_timestamp()").fetchone()[0]  # type: ignore[index]


@pytest.mark.parametrize("mutant", ["", "no trust window"])
def test_a_stopped_leader_is_replaced_and_starts_nothing_when_it_wakes(
    stage: Stage, environment: dict[str, str], mutant: str
) -> None:
    """solid_queue #763, a zombie scheduler. I7: a timer that fires after SIGCONT must not start anything."""
    if mutant:
        stage.replicas.stop()
        stage.replicas.processes.clear()
        stage.replicas.app = "apps.mutant"
        stage.replicas.start(2, MUTANT=mutant)
    with stage.sql() as sql:
        stage.replicas.wait_for(sql, 2)
        # Whether a timer is set at the very instant of the stop is chance: the mutant gets several.
        for _ in range(6 if mutant else 1):
            leader, term = stage.replicas.leader(sql)
            eventually(lambda term=term: calls_of(environment, term), what="the leader fires")
            leader.send_signal(signal.SIGSTOP)
            eventually(lambda term=term: sql.execute(FIRST_FIRE, [term]).fetchone()[0], within_seconds=30)  # type: ignore[index]
            woken_at = time.time()
            leader.send_signal(signal.SIGCONT)
            stage.fires_after(now(sql))
            in_use = f"SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded' AND term > {term}"
            eventually(lambda in_use=in_use: sql.execute(in_use).fetchone()[0] > 50)  # type: ignore[index]
            zombies = [at for at in calls_of(environment, term) if at > woken_at]
            if zombies:
                break
        assert bool(zombies) == bool(mutant)
        assert leader.poll() is None, "it follows now"
    if not mutant:
        stage.settle()


def calls_of(environment: dict[str, str], term: int) -> list[float]:
    """When callbacks were called under a term, by their own witness."""
    lines = (line.split() for line in witnessed(environment))
    return [float(at) for _, _, _, of_term, at in lines if int(of_term) == term]


def test_a_redis_that_forgets_everything_deposes_nobody(stage: Stage) -> None:
    """FLUSHALL: Redis chose, but Postgres decides."""
    with stage.sql() as sql, redis.Redis.from_url(stage.servers.redis_url) as server:
        _, term = stage.replicas.leader(sql)
        for _ in range(3):
            server.flushall()
            flushed_at = now(sql)
            stage.fires_after(flushed_at)
            eventually(server.dbsize, what="the lease is there again")
            _is_renewed(server)
        assert stage.replicas.leader(sql)[1] == term
    stage.settle()


def _is_renewed(server: redis.Redis) -> None:
    """Twice: a follower, which looks as often, has seen it between two losses."""
    (lease,) = server.keys("scheduler:lease:*")
    seen = set()

    def twice() -> bool:
        seen.add(server.pexpiretime(lease))
        return len(seen) > 2

    eventually(twice, what="the lease is renewed")


def test_without_redis_the_leader_holds_and_a_follower_may_still_take_over(stage: Stage) -> None:
    """`redis_outage = "hold"`: no fire is late for it, and a kill meanwhile is survived by Postgres alone."""
    assert stage.servers.redis is not None
    with stage.sql() as sql:
        leader, term = stage.replicas.leader(sql)
        stage.servers.redis.kill()
        down_at = time.monotonic()
        while time.monotonic() - down_at < 2 * LEASE_TTL_SECONDS:
            stage.fires_after(now(sql))
        assert stage.replicas.leader(sql)[1] == term
        leader.send_signal(signal.SIGKILL)
        leader.wait()
        eventually(lambda: sql.execute(FIRST_FIRE, [term]).fetchone()[0])  # type: ignore[index]
        stage.servers.redis.start()
        stage.fires_after(now(sql))
    stage.settle()


@pytest.mark.parametrize("how", ["immediate", "kill"])
def test_a_restart_of_postgres_is_survived(stage: Stage, how: str) -> None:
    """An error is not a death certificate: every witness falls with the server, and somebody leads again."""
    assert stage.servers.postgres is not None
    with stage.sql() as sql:
        before = now(sql)
    if how == "kill":
        stage.servers.postgres.kill()
        stage.servers.postgres.start()
    else:
        stage.servers.postgres.restart("immediate")
    with stage.sql() as sql:
        restarted_at = now(sql)
        assert restarted_at > before
    stage.fires_after(restarted_at)
    stage.settle()


def test_a_leader_that_loses_its_session_sits_down_again_or_is_replaced(stage: Stage) -> None:
    """pg_terminate_backend of the control session, which holds the witness."""
    with stage.sql() as sql:
        for _ in range(3):
            stage.replicas.leader(sql)
            cut_at = now(sql)
            sql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'scheduler control%'"
            )
            stage.fires_after(cut_at)
    stage.settle()


def test_all_replicas_down_for_a_while_lose_nothing(stage: Stage) -> None:
    """good_job #1484, a deploy at noon skipped the noon cron."""
    for process in stage.replicas.processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with stage.sql() as sql:
        down_at = now(sql)
        eventually(lambda: (now(sql) - down_at).total_seconds() > 2)
        stage.replicas.start(1)
        stage.replicas.wait_for(sql, 1)
        stage.fires_after(now(sql))
    stage.settle()
