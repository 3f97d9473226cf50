"""The lease as an elector uses it, on a real Redis: strangers in it, and a Redis that swallows what it is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from waiting import eventually_async

from scheduler_core.domain.election.trust import RedisOutage, Renewal, Timing
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.drill.proxy import CALM, LISTEN_HOST, LinkState, Mode
from scheduler_core.drill.proxy_thread import ProxyThread
from scheduler_core.drill.servers import via
from scheduler_core.engine.clock import boottime
from scheduler_core.engine.election.lease_holder import LeaseHolder
from scheduler_core.ports.election import Leadership, LeaseName
from scheduler_core.storage.redis.leases import LeaseStore
from scheduler_core.storage.redis.url import connect

TIMING = Timing(0.8)
ME = Leadership(7, "mine", "me-1")
DEAD_NONCE = "the dead leader's"
SWALLOWED = LinkState(up=Mode.BLACKHOLE, down=Mode.BLACKHOLE)


@pytest.fixture
async def lease(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[LeaseStore]:
    made = LeaseStore(redis_url, LeaseName(request.node.name, "here"), timeout_seconds=TIMING.redis_timeout_seconds)
    yield made
    await made.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    made = connect(redis_url, timeout_seconds=2.0)
    yield made
    await made.aclose()


def holder(lease: LeaseStore, outage: RedisOutage = RedisOutage.HOLD) -> LeaseHolder:
    return LeaseHolder(lease, TIMING, outage, logging.getLogger("test"))


async def stands(held: LeaseHolder) -> int:
    """One candidacy after another, as an elector makes them."""
    return await held.stand(ME, DEAD_NONCE)


@pytest.mark.parametrize("outage", RedisOutage)
async def test_a_lease_that_never_ends_is_taken_after_a_ttl(
    lease: LeaseStore, client: Redis, caplog: pytest.LogCaptureFixture, outage: RedisOutage
) -> None:
    """By hand: `HSET lease token x`."""
    await client.hset(lease.key, mapping={"token": "x", "instance": "somebody"})
    held, began = holder(lease, outage), boottime()
    assert await eventually_async(lambda: stands(held), within_seconds=5) == ME.term
    assert TIMING.silence_seconds <= boottime() - began < 2 * TIMING.ttl_seconds
    assert "'somebody'" in caplog.text
    assert "taken over" in caplog.text
    view = await lease.read()
    assert view is not None
    assert view.token == ME.nonce
    assert view.remaining_seconds is not None


async def test_a_strangers_living_lease_is_named_and_stood_without(
    lease: LeaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    """pawtograder #927, a copy of the database. It goes on being renewed, and is left to whoever renews it."""
    stranger = LeaseStore(lease._scripts._url, lease._name, timeout_seconds=1.0)

    async def live() -> None:
        beat = 0
        while True:
            beat += 1
            await stranger.take("theirs", 5.0, "staging-1", dead_token=None, term=3, is_new=False, beat=beat)
            await asyncio.sleep(0.05)

    living = asyncio.create_task(live())
    await eventually_async(lease.read, what="a first look, and a connection")
    held, began = holder(lease), boottime()
    assert await eventually_async(lambda: stands(held), within_seconds=5) == ME.term
    assert boottime() - began >= TIMING.silence_seconds
    assert "'staging-1'" in caplog.text
    assert "standing without the lease" in caplog.text
    assert await held.renew(ME) is Renewal.TAKEN
    view = await lease.read()
    assert view is not None
    assert view.token == "theirs"
    assert await holder(lease, RedisOutage.STOP).stand(ME, DEAD_NONCE) == 0
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    await stranger.close()


async def test_a_leader_outlives_what_was_put_over_its_lease(lease: LeaseStore, client: Redis) -> None:
    """Nobody follows a leader by a lease that is not its own: it is had again before anybody's patience ends."""
    held = holder(lease)
    await held.stand(ME, DEAD_NONCE)
    await client.hset(lease.key, "token", "x")
    await client.persist(lease.key)
    began = boottime()

    async def renews() -> bool:
        await asyncio.sleep(TIMING.beat_every_seconds)
        return await held.renew(ME) is Renewal.RENEWED

    await eventually_async(renews)
    assert TIMING.candidacy_seconds <= boottime() - began < TIMING.ttl_seconds


async def test_a_beat_moves_though_the_lease_is_evicted_between_any_two(lease: LeaseStore, client: Redis) -> None:
    """Five evictions in a second: whoever looks must see that the leader lives."""
    held, beats = holder(lease), []
    await held.stand(ME, DEAD_NONCE)
    for _ in range(5):
        assert await held.renew(ME) is Renewal.RENEWED
        await client.delete(lease.key)
        assert await held.renew(ME) is Renewal.ABSENT
        assert await held.take(ME, None)
        view = await lease.read()
        assert view is not None
        beats.append(view.beat)
    assert beats == sorted(set(beats))


@pytest.fixture
async def silent(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[LeaseStore]:
    """A lease on a Redis that swallows whatever is sent, once the connection is made."""
    proxies, server = ProxyThread(), urlsplit(redis_url)
    proxy = await proxies.open(server.hostname or "", server.port or 0)
    url = via(redis_url, LISTEN_HOST, proxy.port)
    made = LeaseStore(url, LeaseName(request.node.name, "here"), timeout_seconds=0.6)
    await made.ping()
    await proxies.set_link_state(proxy, SWALLOWED)
    yield made
    await proxies.set_link_state(proxy, CALM)
    await made.close()
    await proxies.close()


async def test_nobody_waits_for_a_redis_that_swallows_packets(silent: LeaseStore) -> None:
    """Postgres decides anyway: 150 ms from a kill to the next fire leave no time for a time-out."""
    held, began = holder(silent), boottime()
    assert await held.stand(ME, DEAD_NONCE) == ME.term
    first = boottime() - began
    assert await held.stand(ME, DEAD_NONCE) == ME.term
    second = boottime() - began - first
    assert await held.renew(ME) is Renewal.UNREADABLE
    assert await held.renew(ME) is Renewal.UNREADABLE
    await held.release(ME.nonce)
    assert first < 0.1
    assert second < 0.01, "what is known to be silent is not asked"
    assert boottime() - began < 0.4
    await held.close()


async def test_under_stop_the_answer_is_waited_for(silent: LeaseStore) -> None:
    held = holder(silent, RedisOutage.STOP)
    with pytest.raises(ServerUnreachableError):
        await held.stand(ME, DEAD_NONCE)
    assert await held.renew(ME) is Renewal.UNREADABLE
    await held.close()
