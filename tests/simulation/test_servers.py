"""The simulated servers are held against the real ones: both are asked the same, in the words of an election."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import pytest
from redis.asyncio import Redis

from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.ports.election import Instance, LeaderRow, Leadership, LeaseName
from scheduler_core.storage.fire.control_session import PostgresControlSession
from scheduler_core.storage.redis.leases import GREATEST_STEP, LeaseStore
from scheduler_core.storage.redis.url import connect

from .network import Link
from .postgres_server import PostgresServer, SimulatedSession
from .redis_server import RedisServer, simulated_lease
from .timeline import Timeline

TTL_SECONDS = 3.0


class Nobody:
    """Listens to no session."""

    def nudged(self, message: str) -> None: ...

    def session_lost(self) -> None: ...


class Servers(Protocol):
    """Real or simulated ones."""

    def session(self) -> PostgresControlSession: ...

    def lease(self) -> LeaseStore: ...

    async def end(self, session: PostgresControlSession) -> None:
        """As pg_terminate_backend."""

    async def write_by_hand(self, lease: LeaseStore, token: str) -> None:
        """As `HSET`, where a lease lies: it never ends by itself."""


Scenario = Callable[[Servers], Coroutine[Any, Any, None]]


class RealServers:
    def __init__(self, database_url: str, redis_url: str, name: str) -> None:
        self._database_url, self._redis_url, self._name = database_url, redis_url, name

    def session(self) -> PostgresControlSession:
        return PostgresControlSession(self._database_url, "scheduler", ttl_seconds=TTL_SECONDS)

    def lease(self) -> LeaseStore:
        return LeaseStore(self._redis_url, LeaseName(self._name, "here"), timeout_seconds=2.0)

    async def end(self, session: PostgresControlSession) -> None:
        assert session._connection is not None
        pid = session._connection.get_server_pid()
        other = self.session()
        await other.open(instance("other"), Nobody())
        await other._call(lambda c: c.execute("SELECT pg_terminate_backend($1)", pid))
        await other.close()

    async def write_by_hand(self, lease: LeaseStore, token: str) -> None:
        client: Redis = connect(self._redis_url, timeout_seconds=2.0)
        await client.delete(lease.key)
        await client.hset(lease.key, mapping={"token": token})
        await client.aclose()


class SimulatedServers:
    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._postgres, self._redis = PostgresServer(timeline), RedisServer(timeline)

    def session(self) -> PostgresControlSession:
        return SimulatedSession(self._postgres, Link(self._timeline), "somebody", ttl_seconds=TTL_SECONDS)

    def lease(self) -> LeaseStore:
        lease = simulated_lease(self._redis, Link(self._timeline), timeout_seconds=2.0)
        lease.go_by(LeaseName("s", "here"))
        return lease

    async def end(self, session: PostgresControlSession) -> None:
        assert session._connection is not None
        self._postgres.end(session._connection.backend, "57P01")  # type: ignore[attr-defined]

    async def write_by_hand(self, lease: LeaseStore, token: str) -> None:
        self._redis.write_by_hand(token)


@pytest.fixture(params=["real", "simulated"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Plays a scenario on the servers of one kind."""

    def on_real(scenario: Scenario) -> None:
        urls = request.getfixturevalue("database_url"), request.getfixturevalue("redis_url")
        asyncio.run(scenario(RealServers(*urls, request.node.name)))

    def on_simulated(scenario: Scenario) -> None:
        timeline = Timeline(1)
        timeline.failed = pytest.fail
        try:
            timeline.run(scenario(SimulatedServers(timeline)))
        finally:
            timeline.dispose()

    return on_real if request.param == "real" else on_simulated


def instance(name: str) -> Instance:
    return Instance(name, name, "here", 1, "0", eligible=True)


async def opened(servers: Servers, name: str) -> PostgresControlSession:
    session = servers.session()
    await session.open(instance(name), Nobody())
    return session


async def claimed(session: PostgresControlSession, row: LeaderRow, nonce: str, proposed: int = 0) -> Leadership | None:
    return await session.claim(row, nonce, reason="test", silent_seconds=0.0, proposed_term=proposed)


def test_of_two_candidates_one_moves_the_row(run: Callable[[Scenario], None]) -> None:
    async def scenario(servers: Servers) -> None:
        one, two = await opened(servers, "one"), await opened(servers, "two")
        row = await one.leader()
        assert (row.term, row.nonce, row.witnessed) == (0, None, False)
        assert await claimed(one, row, "n1") == Leadership(1, "n1", "one")
        assert await claimed(two, row, "n2") is None
        assert await two.leader() == LeaderRow(1, "n1", "one", witnessed=True)
        third = await claimed(two, await two.leader(), "n3", proposed=42)
        assert third == Leadership(42, "n3", "two"), "above what the lease has carried"
        assert await one.confirm(third)
        assert not await one.confirm(Leadership(1, "n1", "one"))
        await one.close()
        await two.close()

    run(scenario)


def test_a_resigned_seat_is_nobodys(run: Callable[[Scenario], None]) -> None:
    async def scenario(servers: Servers) -> None:
        session = await opened(servers, "one")
        leadership = await claimed(session, await session.leader(), "n1")
        assert leadership is not None
        await session.resign(Leadership(1, "another nonce", "one"), "not mine")
        assert await session.confirm(leadership)
        await session.resign(leadership, "done", "two")
        assert await session.leader() == LeaderRow(1, None, "one", witnessed=False, preferred_successor="two")
        assert await session.reclaim(leadership, "n2") is None
        assert await claimed(session, await session.leader(), "n3") == Leadership(2, "n3", "one")
        assert (await session.leader()).preferred_successor is None
        await session.close()

    run(scenario)


def test_a_term_is_reclaimed_by_its_nonce_alone(run: Callable[[Scenario], None]) -> None:
    async def scenario(servers: Servers) -> None:
        before, after = await opened(servers, "one"), servers.session()
        leadership = await claimed(before, await before.leader(), "n1")
        assert leadership is not None
        await servers.end(before)
        await after.open(instance("one"), Nobody())
        assert await after.reclaim(Leadership(1, "another nonce", "one"), "n2") is None
        assert await after.reclaim(leadership, "n2") == Leadership(1, "n2", "one")
        assert await after.reclaim(leadership, "n2") == Leadership(1, "n2", "one"), "whose reply was lost"
        assert not await after.confirm(leadership)
        assert await after.leader() == LeaderRow(1, "n2", "one", witnessed=True)
        await after.close()

    run(scenario)


def test_a_witness_falls_with_its_session(run: Callable[[Scenario], None]) -> None:
    async def scenario(servers: Servers) -> None:
        leader, follower = await opened(servers, "leader"), await opened(servers, "follower")
        await claimed(leader, await leader.leader(), "n1")
        row = await follower.leader()
        assert not await follower.await_fall(row, 0.05)
        waiting = asyncio.create_task(follower.await_fall(row, 0.7))
        await asyncio.sleep(0.05)
        await servers.end(leader)
        assert await waiting
        with pytest.raises(ServerUnreachableError):
            await leader.leader()
        assert not leader.is_open
        await follower.close()

    run(scenario)


def test_of_a_past_leader_no_witness_is_waited_for(run: Callable[[Scenario], None]) -> None:
    """The row names the session that counts: another's lock is no witness."""

    async def scenario(servers: Servers) -> None:
        first, second = await opened(servers, "first"), await opened(servers, "second")
        await claimed(first, await first.leader(), "n1")
        old = await second.leader()
        await claimed(second, old, "n2")
        assert await second.await_fall(old, 0.3)
        assert not await first.await_fall(await first.leader(), 0.05)
        await first.close()
        await second.close()

    run(scenario)


def test_nobody_waits_for_his_own_witness(run: Callable[[Scenario], None]) -> None:
    async def scenario(servers: Servers) -> None:
        session = await opened(servers, "one")
        await claimed(session, await session.leader(), "n1")
        assert await session.await_fall(await session.leader(), 0.7)
        await session.close()

    run(scenario)


def test_a_lease_is_taken_renewed_and_released_by_its_token(run: Callable[[Scenario], None]) -> None:
    async def scenario(servers: Servers) -> None:
        lease = servers.lease()
        assert await lease.read() is None
        assert await lease.renew("one", 5.0, 7, 1) is None
        assert await lease.take("one", 5.0, "i", dead_token=None, term=7, is_new=True, beat=3) == 7
        assert await lease.take("two", 5.0, "i", dead_token=None, term=8, is_new=True) == 0
        assert await lease.take("two", 5.0, "i", dead_token="somebody else", term=8, is_new=True) == 0
        assert await lease.renew("two", 5.0, 8, 1) is False
        assert await lease.renew("one", 4.0, 7, 4) is True
        view = await lease.read()
        assert view is not None
        assert (view.token, view.instance_id, view.term, view.beat) == ("one", "i", 7, 4)
        assert view.remaining_seconds == pytest.approx(4.0, abs=1.0)
        assert view.age_seconds == pytest.approx(0.0, abs=1.0)
        assert not await lease.release("two")
        assert await lease.take("two", 5.0, "j", dead_token="one", term=3, is_new=True) == 8, "above what it carried"
        assert await lease.take("two", 5.0, "j", dead_token=None, term=8, is_new=False) == 8
        assert await lease.release("two")
        assert await lease.read() is None
        assert await lease.take("three", 5.0, "k", dead_token=None, term=1, is_new=True) == 9, "it outlasts the lease"
        assert await lease.take("three", 5.0, "k", dead_token=None, term=9 + GREATEST_STEP, is_new=True)
        assert await lease.take("three", 5.0, "k", dead_token=None, term=1, is_new=True) == 1, "not to be believed"
        await lease.close()

    run(scenario)


def test_a_lease_runs_out_and_a_written_one_does_not(run: Callable[[Scenario], None]) -> None:
    async def scenario(servers: Servers) -> None:
        lease = servers.lease()
        assert await lease.take("one", 0.05, "i", dead_token=None, term=1, is_new=True)
        await servers.write_by_hand(lease, "x")
        view = await lease.read()
        assert view is not None
        assert (view.token, view.instance_id, view.term, view.beat) == ("x", "", 0, 0)
        assert (view.remaining_seconds, view.age_seconds) == (None, None)
        assert await lease.take("two", 0.05, "i", dead_token="x", term=2, is_new=True)
        assert await is_gone(lease)
        await lease.close()

    run(scenario)


async def is_gone(lease: LeaseStore) -> bool:
    for _ in range(500):
        if await lease.read() is None:
            return True
        await asyncio.sleep(0.01)
    return False
