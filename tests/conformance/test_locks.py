"""`ports.Locks`: the lock service on Redis, and the one in memory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from scheduler_core import LockService
from scheduler_core.ports.election import Locks
from scheduler_core.testing.local_locks import LocalLocks

TTL_SECONDS = 30.0


@pytest.fixture(params=["redis", "memory"])
async def locks(request: pytest.FixtureRequest) -> AsyncIterator[Locks]:
    if request.param == "memory":
        yield LocalLocks()
        return
    redis: Redis = Redis.from_url(request.getfixturevalue("redis_url"))
    yield LockService(redis, prefix=f"{secrets.token_hex(8)}:")
    await redis.aclose()


async def test_a_lock_is_held_by_one(locks: Locks) -> None:
    assert await locks.acquire("k", TTL_SECONDS)
    assert await locks.acquire("k", TTL_SECONDS) is None
    assert await locks.acquire("another", TTL_SECONDS)


async def test_only_its_holder_renews_it(locks: Locks) -> None:
    token = await locks.acquire("k", TTL_SECONDS)
    assert await locks.renew("k", token, TTL_SECONDS)
    assert not await locks.renew("k", "somebody's", TTL_SECONDS)
    assert not await locks.renew("another", token, TTL_SECONDS)


async def test_only_its_holder_releases_it(locks: Locks) -> None:
    token = await locks.acquire("k", TTL_SECONDS)
    assert not await locks.release("k", "somebody's")
    assert await locks.acquire("k", TTL_SECONDS) is None
    assert await locks.release("k", token)
    assert not await locks.release("k", token)
    assert not await locks.renew("k", token, TTL_SECONDS)
    again = await locks.acquire("k", TTL_SECONDS)
    assert again
    assert again != token


async def test_arguments_may_be_named(locks: Locks) -> None:
    token = await locks.acquire(key="k", ttl=TTL_SECONDS)
    assert await locks.renew(key="k", token=token, ttl=TTL_SECONDS)
    assert await locks.release(key="k", token=token)
