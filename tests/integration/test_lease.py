"""The lease's contract, on genuine Redis 6.2 and on current Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from waiting import eventually_async

from scheduler_core.domain.errors import InvalidSettingsError, LockLostError, ServerUnreachableError
from scheduler_core.ports.election import LeaseElsewhere, LeaseName
from scheduler_core.storage.embedded import RedisServer
from scheduler_core.storage.redis.leases import GREATEST_STEP, LeaseStore
from scheduler_core.storage.redis.locks import LockService
from scheduler_core.storage.redis.url import connect


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(Path(tmp_path_factory.mktemp(request.param)), kind=request.param) as started:
        yield started


@pytest.fixture
async def lease(server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[LeaseStore]:
    made = LeaseStore(server.url, LeaseName(request.node.name, "here"), timeout_seconds=2.0)
    yield made
    await made.close()


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    made = connect(server.url, timeout_seconds=2.0)
    yield made
    await made.aclose()


@pytest.fixture
async def locks(server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[LockService]:
    client = connect(server.url, timeout_seconds=2.0)
    yield LockService(client, prefix=f"{request.node.name}:")
    await client.aclose()


async def take(lease: LeaseStore, token: str, ttl_seconds: float = 5.0, dead_token: str | None = None) -> int:
    return await lease.take(token, ttl_seconds, f"instance of {token}", dead_token=dead_token, term=4, is_new=False)


async def test_a_free_lease_is_taken_once(lease: LeaseStore) -> None:
    assert await take(lease, "one")
    assert not await take(lease, "two")
    assert await take(lease, "one"), "taking one's own again is no conflict"


async def test_of_many_candidates_one_gets_it(lease: LeaseStore) -> None:
    taken = await asyncio.gather(*(take(lease, f"token {n}") for n in range(50)))
    assert sum(map(bool, taken)) == 1


async def test_a_dead_leaders_lease_is_taken_over_by_its_token_only(lease: LeaseStore) -> None:
    await take(lease, "dead")
    assert not await take(lease, "successor", dead_token="somebody else")
    assert await take(lease, "successor", dead_token="dead")
    assert not await take(lease, "late successor", dead_token="dead")


async def test_a_new_term_is_above_every_one_that_the_lease_has_carried(lease: LeaseStore) -> None:
    """I1, where Postgres was failed over to a standby that has not seen the last terms."""
    assert await lease.take("one", 5.0, "i", dead_token=None, term=7, is_new=True) == 7
    assert await lease.take("two", 5.0, "i", dead_token="one", term=3, is_new=True) == 8
    assert await lease.take("two", 5.0, "i", dead_token=None, term=8, is_new=False) == 8
    assert await lease.take("three", 5.0, "i", dead_token=None, term=9, is_new=True) == 0


async def test_the_greatest_term_outlasts_its_lease(lease: LeaseStore) -> None:
    """A standby may be promoted long after the last renewal."""
    assert await lease.take("one", 5.0, "i", dead_token=None, term=7, is_new=True) == 7
    await lease.release("one")
    lease.go_by(LeaseName(lease._name.scheduler, "the standby"))
    assert await lease.take("two", 5.0, "i", dead_token=None, term=3, is_new=True) == 8


NONSENSE = ["9223372036854775806", "99999999999999999999999", "-1", "nan", "inf", "x", "1e300", "\xff"]


@pytest.mark.parametrize("said", NONSENSE)
async def test_a_term_that_can_not_be_is_refused_and_replaced(
    lease: LeaseStore, client: Redis, caplog: pytest.LogCaptureFixture, said: str
) -> None:
    """Else the next one would be as high, and the numbers were worn out."""
    await client.hset(lease.memory_key, "term", said)
    assert await lease.take("one", 5.0, "i", dead_token=None, term=7, is_new=True) == 7
    assert "can't be" in caplog.text
    assert repr(said)[1:-1] in caplog.text
    assert await lease.take("two", 5.0, "i", dead_token="one", term=7, is_new=True) == 8


@pytest.mark.parametrize("step", [GREATEST_STEP, GREATEST_STEP + 1])
async def test_a_term_is_believed_up_to_a_bound(lease: LeaseStore, client: Redis, step: int) -> None:
    await client.hset(lease.memory_key, "term", 7 + step)
    taken = await lease.take("one", 5.0, "i", dead_token=None, term=7, is_new=True)
    assert taken == (7 + step + 1 if step <= GREATEST_STEP else 7)


async def test_a_memory_of_another_type_is_replaced(lease: LeaseStore, client: Redis) -> None:
    await client.set(lease.memory_key, "somebody's")
    assert await lease.take("one", 5.0, "i", dead_token=None, term=7, is_new=True) == 7
    assert await lease.take("two", 5.0, "i", dead_token="one", term=7, is_new=True) == 8


FIELDS = [{}, {"instance": "who"}, {"term": "x", "beat": "-", "ttl": "soon"}, {"beat": "9" * 40}, {"ttl": "0"}]


@pytest.mark.parametrize("fields", FIELDS)
async def test_whatever_lies_there_can_be_read_and_is_taken_by_its_token(
    lease: LeaseStore, client: Redis, fields: dict[str, str]
) -> None:
    """`HSET lease token x`, by hand: without an end, and with fields that mean nothing. \xff is no text at all."""
    await client.hset(lease.key, mapping={"token": b"x\xff", **fields})
    view = await lease.read()
    assert view is not None
    assert view.remaining_seconds is None
    assert view.age_seconds is None
    assert not await take(lease, "successor")
    assert await take(lease, "successor", dead_token=view.token)
    view = await lease.read()
    assert view is not None
    assert view.remaining_seconds is not None, "it ends now"


async def test_a_key_without_a_token_is_free(lease: LeaseStore, client: Redis) -> None:
    await client.hset(lease.key, "somebody's", "field")
    assert await lease.read() is None
    assert await take(lease, "one")


async def test_copies_of_a_database_know_of_each_other(server: RedisServer, lease: LeaseStore) -> None:
    """Each server has a lease of its own; pawtograder #927, a copy that took the original's."""
    copy = LeaseStore(server.url, LeaseName(lease._name.scheduler, "there"), timeout_seconds=2.0)
    assert await lease.elsewhere() == []
    await take(lease, "one")
    assert await take(copy, "two"), "it is another lease"
    assert await lease.elsewhere() == [LeaseElsewhere("there", "instance of two")]
    assert await copy.elsewhere() == [LeaseElsewhere("here", "instance of one")]
    await lease.release("one")
    assert await copy.elsewhere() == [], "only of those that live"
    await copy.close()


async def test_a_renewal_tells_absent_from_taken(lease: LeaseStore) -> None:
    """redbeat #127, a lock that was extended without asking whose it is."""
    assert await lease.renew("one", 5.0, 4, 1) is None
    await take(lease, "one")
    assert await lease.renew("one", 5.0, 4, 1) is True
    assert await lease.renew("two", 5.0, 4, 1) is False


async def test_the_view_shows_token_term_beat_and_times(lease: LeaseStore) -> None:
    assert await lease.read() is None
    await take(lease, "one")
    await lease.renew("one", 5.0, 9, 7)
    view = await lease.read()
    assert view is not None
    assert (view.token, view.term, view.beat) == ("one", 9, 7)
    assert view.remaining_seconds is not None
    assert view.age_seconds is not None
    assert 4.0 < view.remaining_seconds <= 5.0
    assert view.age_seconds + view.remaining_seconds == pytest.approx(5.0)


async def test_only_the_holder_releases(lease: LeaseStore) -> None:
    """redbeat #127."""
    await take(lease, "one")
    assert not await lease.release("two")
    assert await lease.release("one")
    assert await lease.read() is None


async def test_a_lease_runs_out(lease: LeaseStore) -> None:
    await take(lease, "one", ttl_seconds=0.05)
    await eventually_async(lambda: take(lease, "two"), within_seconds=2)


async def test_a_lock_is_held_once_and_released_by_its_token(locks: LockService) -> None:
    token = await locks.acquire("key", 5)
    assert token is not None
    assert await locks.acquire("key", 5) is None
    assert not await locks.release("key", "not the token")
    assert not await locks.renew("key", "not the token", 5)
    assert await locks.renew("key", token, 5)
    assert await locks.release("key", token)
    assert await locks.acquire("key", 5) is not None


async def test_a_run_inherits_its_own_lock_and_no_other(locks: LockService) -> None:
    """A lock names the run: who adopts the run of a dead owner takes its lock over."""
    assert await locks.acquire_for("key", 5, "run-1") is not None
    assert await locks.acquire_for("key", 5, "run-2") is None
    assert await locks.acquire_for("key", 5, "run-") is None
    assert await locks.acquire_for("key", 5, "run-1") is not None


@pytest.mark.parametrize("lost", ["acquire", "release"])
async def test_a_lock_whose_reply_got_lost_keeps_nobody_waiting(
    locks: LockService, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Redis did it, and the answer never came: the next acquisition here takes what nobody holds."""
    run = locks._run

    async def lose_the_reply(*arguments: Any) -> Any:
        await run(*arguments)
        raise ServerUnreachableError("the reply got lost")

    async def lose_the_question(*_: Any) -> Any:
        raise ServerUnreachableError("the question got lost")

    if lost == "acquire":
        monkeypatch.setattr(locks, "_run", lose_the_reply)
        with pytest.raises(ServerUnreachableError):
            await locks.acquire("k", 60)
    else:
        token = await locks.acquire("k", 60)
        assert token is not None
        monkeypatch.setattr(locks, "_run", lose_the_question)
        with pytest.raises(ServerUnreachableError):
            await locks.release("k", token)
    monkeypatch.setattr(locks, "_run", run)
    stranger = LockService(locks._redis, prefix=locks._prefix)
    assert await stranger.acquire("k", 60) is None, "for others it is held"
    if lost == "release":
        await locks.release_abandoned()
        assert await stranger.acquire("k", 60) is not None, "given back as soon as Redis can be asked again"
    else:
        assert await locks.acquire("k", 60) is not None


async def test_holding_outlasts_the_ttl(locks: LockService) -> None:
    """ShedLock #9, a lock that expires mid-job."""
    async with locks.hold("key", 0.15) as token:
        assert token is not None
        deadline = asyncio.get_running_loop().time() + 0.6
        while asyncio.get_running_loop().time() < deadline:
            assert await locks.acquire("key", 1) is None
            await asyncio.sleep(0.02)
    assert await locks.acquire("key", 1) is not None


@pytest.mark.parametrize("iterations", range(12))
async def test_no_cancellation_is_lost_at_any_point_of_a_call(
    locks: LockService, lease: LeaseStore, iterations: int
) -> None:
    """In Python 3.11 one that arrives as a command has been sent is swallowed by what redis-py sends with."""
    await locks.acquire("key", 5)
    await lease.read()

    async def ask_for_ever(ask: Callable[[], Awaitable[object]]) -> None:
        while True:
            await ask()

    for ask in (lambda: locks.renew("key", "token", 5), lease.read):
        asking = asyncio.create_task(ask_for_ever(ask))
        for _ in range(iterations):
            await asyncio.sleep(0)
        asking.cancel()
        _, still_asking = await asyncio.wait([asking], timeout=1)
        asking.cancel()
        assert not still_asking


async def test_a_lock_that_is_lost_says_so(locks: LockService, server: RedisServer) -> None:
    client = connect(server.url, timeout_seconds=2.0)

    async def hold_for_long() -> None:
        async with locks.hold("key", 0.15):
            await client.flushall()
            await asyncio.Event().wait()

    with pytest.raises(LockLostError):
        await asyncio.wait_for(hold_for_long(), 5)
    await client.aclose()


async def test_a_lock_held_elsewhere_yields_none(locks: LockService) -> None:
    await locks.acquire("key", 5)
    async with locks.hold("key", 5) as token:
        assert token is None


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
async def test_a_ttl_that_makes_no_sense_is_refused(locks: LockService, ttl: float) -> None:
    with pytest.raises(InvalidSettingsError, match="ttl"):
        await locks.acquire("key", ttl)


async def test_a_wrong_password_and_a_closed_port_are_told_apart(server: RedisServer) -> None:
    for url, words in (
        (server.url.replace(server.password, "secret"), "login"),
        ("redis://:secret@127.0.0.1:1/0", "reached"),
    ):
        lease = LeaseStore(url, LeaseName("x", "here"), timeout_seconds=1.0)
        with pytest.raises(ServerUnreachableError, match=words) as caught:
            await lease.read()
        assert "secret" not in str(caught.value)
        await lease.close()
