"""The Redis master is killed with -9 and a Sentinel's quorum promotes its replica: the schedule goes on.

How long what takes is told by `python -m bench.sentinel`, which does the same several times.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import eventually_async

from bench.sentinel import measure
from bench.sentinels import MASTER, Sentinels
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.ports.election import LeaseName
from scheduler_core.storage.redis.leases import LeaseStore


@pytest.mark.parametrize("outage", ["hold", "stop"])
def test_the_master_is_killed_and_every_fire_is_accounted_for_once(tmp_path: Path, outage: str) -> None:
    verdict = measure(tmp_path, outage=outage, settle_seconds=1.0)
    assert verdict.due > 100
    assert (verdict.unaccounted, verdict.duplicates, verdict.calls_twice) == (0, 0, 0)
    assert verdict.lease_instance == verdict.leader_instance, "the successor's lease stands at the new master"
    print(
        f"{outage}: longest gap {verdict.rounds[0].gap_ms:.0f} ms, promoted after {verdict.rounds[0].promoted_ms:.0f}"
    )


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with Sentinels(tmp_path, down_after_seconds=0.3) as started:
        yield started


async def test_a_lease_is_found_again_at_the_new_master(sentinels: Sentinels) -> None:
    lease = LeaseStore(sentinels.url, LeaseName("one", "here"), timeout_seconds=2.0)
    assert await lease.take("mine", 60, "me", dead_token=None, term=1, is_new=True)

    async def renewed() -> bool:
        try:
            return await lease.renew("mine", 60, 1, beat=1) is not False
        except ServerUnreachableError:
            return False

    port = sentinels.kill_master()
    await eventually_async(renewed, what="a master that answers")
    assert sentinels.master_port() != port
    await lease.take("mine", 60, "me", dead_token=None, term=1, is_new=False)
    found = await lease.read()
    assert found is not None
    assert found.token == "mine"
    await lease.close()


async def test_sentinels_that_are_wrong_say_so_in_a_line(sentinels: Sentinels) -> None:
    async def ping(url: str) -> None:
        lease = LeaseStore(url, LeaseName("one", "here"), timeout_seconds=2.0)
        try:
            await lease.ping()
        finally:
            await lease.close()

    await ping(sentinels.url)
    # One that says nothing does not use the others' time up.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        await ping(sentinels.url.replace("@", f"@127.0.0.1:{silent.getsockname()[1]},", 1))
    right = sentinels.url
    for url, says in (
        (right.replace(f"/{MASTER}/", "/another/"), "no Sentinel names a living master: Redis 'another'"),
        (right.replace(sentinels.sentinel_password, "wrong"), "a Sentinel refused the login"),
        (right.replace(sentinels.password, "wrong"), "Redis at 'mymaster' .* refused the login"),
        (
            f"redis+sentinel://:wrong@127.0.0.1:1,127.0.0.1:2/{MASTER}",
            r"living master \(ConnectionError",
        ),
    ):
        with pytest.raises(ServerUnreachableError, match=says) as caught:
            await ping(url)
        for secret in ("wrong", sentinels.password, sentinels.sentinel_password):
            assert secret not in str(caught.value)
        assert "\n" not in str(caught.value)
    # A replica is asked to write: an old address in `redis_url`, or a master that has been one.
    replica = next(port for port in sentinels.ports if port != sentinels.master_port())
    lease = LeaseStore(
        f"redis://:{sentinels.password}@127.0.0.1:{replica}/0", LeaseName("one", "here"), timeout_seconds=2.0
    )
    with pytest.raises(ServerUnreachableError, match="is a replica"):
        await lease.take("mine", 60, "me", dead_token=None, term=1, is_new=True)
    await lease.close()
