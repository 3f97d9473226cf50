"""An error that Redis answers with is an outage: under `hold` it takes nothing away, under `stop` it is raised."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from redis_troubles import TROUBLES
from waiting import eventually_async

from scheduler_core import Container, load_settings
from scheduler_core.domain.election.trust import RedisOutage, Renewal, Timing
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.engine.election.lease_holder import LeaseHolder
from scheduler_core.ports.election import Leadership, LeaseName
from scheduler_core.storage.embedded import RedisServer
from scheduler_core.storage.redis.answers import MEANINGS
from scheduler_core.storage.redis.leases import LeaseStore

TIMING = Timing(3.0)
ME = Leadership(7, "mine", "me-1")


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(Path(tmp_path_factory.mktemp(request.param)), kind=request.param) as started:
        yield started


@pytest.fixture(params=TROUBLES)
def trouble(request: pytest.FixtureRequest, server: RedisServer, lease: LeaseStore) -> Iterator[str]:
    """Redis answers with this error as long as the test runs."""
    if request.param == "MISCONF" and server.kind != "redis":
        pytest.skip("this server's folder can't be moved while it runs")
    with redis.Redis.from_url(server.url) as client, TROUBLES[request.param](client, lease.key):
        yield request.param


@pytest.fixture
async def lease(server: RedisServer) -> AsyncIterator[LeaseStore]:
    made = LeaseStore(server.url, LeaseName("troubled", "here"), timeout_seconds=2.0)
    yield made
    await made.close()


def holder(lease: LeaseStore, outage: RedisOutage) -> LeaseHolder:
    return LeaseHolder(lease, TIMING, outage, logging.getLogger("test"))


async def test_hold_holds_whatever_redis_answers(
    trouble: str, lease: LeaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    """redis #8623: a master without replicas refuses every write, and answers."""
    caplog.set_level(logging.WARNING)
    held = holder(lease, RedisOutage.HOLD)
    assert await held.stand(ME, None) == ME.term, "a candidate stands without Redis"
    # A candidate waits for no Redis: on a machine that is busy it has stood before the answer came.
    assert MEANINGS[trouble].sentence in caplog.text or "no answer within" in caplog.text
    assert await held.renew(ME) in {Renewal.UNREADABLE, Renewal.ABSENT}
    assert await held.take(ME, None), "where it may be read, and nothing written, there is no lease to renew"
    await held.release(ME.nonce)
    await held.observe(TIMING.watch(), TIMING.suspicion(), "another", witnessed=True)


async def test_stop_stops_whatever_redis_answers(trouble: str, lease: LeaseStore) -> None:
    stopped = holder(lease, RedisOutage.STOP)
    with pytest.raises(ServerUnreachableError):
        await stopped.stand(ME, None)


async def test_a_first_replica_starts_though_redis_answers_with_errors(database_url: str, server: RedisServer) -> None:
    """Nobody has ever led here. A server that says what it lacks is the right one."""
    settings = load_settings(database_url=database_url, redis_url=server.url, timezone="UTC")
    container = Container(settings)
    with redis.Redis.from_url(server.url) as client, TROUBLES["BUSY"](client, ""):
        scheduler = await container.start()
        await eventually_async(lambda: scheduler.is_leader, what="it leads")
        await container.close()
