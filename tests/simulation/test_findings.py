"""What the simulation has found, each as a scene: it breaks without its mend."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

import pytest

from scheduler_core.domain.election.trust import RedisOutage
from scheduler_core.domain.errors import SchedulerError

from .checks import ViolationError
from .mutants import ended_term_waits_for_redis, seat_is_kept, window_of_the_taken_lease
from .world import Scene, World

SEEDS = range(6)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The storage's own log tells of every fault."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


async def a_session_ends_while_redis_fails(world: World) -> None:
    """Under `stop` the leader sits down again in Postgres at once, and has the lease a second later."""
    await world.begin()
    await asyncio.sleep(0.5)
    leader = world.leader()
    assert leader is not None
    world.postgres.crash()
    world.postgres.start()  # so that no witness's fall counts yet
    world.redis.answers_errors = True
    await asyncio.sleep(0.5 * world.timing.ttl_seconds)
    world.redis.answers_errors = False
    await world.led()
    await asyncio.sleep(world.timing.ttl_seconds)


async def a_leader_is_cut_from_redis_alone(world: World) -> None:
    """Under `stop` each renewal is waited for; Postgres has long said who leads."""
    await world.begin()
    await asyncio.sleep(2 * world.timing.ttl_seconds)
    leader = world.leader()
    assert leader is not None
    leader.redis.up.is_cut = True
    await asyncio.sleep(2 * world.timing.ttl_seconds)


async def a_leader_is_stopped_while_it_reclaims(world: World) -> None:
    """It sits in Postgres and has no lease, is asked to end, and lets a run of a minute end first."""
    await world.begin()
    await asyncio.sleep(0.5)
    leader = world.leader()
    assert leader is not None
    nonce = world.postgres.row.nonce
    world.redis.answers_errors = True
    world.postgres.crash()
    world.postgres.start()
    for _ in range(1000):
        if world.postgres.row.nonce != nonce:
            break
        await asyncio.sleep(0.001)

    async def end() -> None:
        assert leader.elector is not None
        leader.elector.retire()
        with contextlib.suppress(SchedulerError, TimeoutError):
            await leader.elector.resign("stopped")

    leader.loop.call_soon_threadsafe(lambda: leader.loop.create_task(end()))
    await asyncio.sleep(0.5)
    world.redis.answers_errors = False
    await world.led()


FINDINGS: dict[Scene, Callable[[pytest.MonkeyPatch], None]] = {
    a_session_ends_while_redis_fails: window_of_the_taken_lease,
    a_leader_is_cut_from_redis_alone: ended_term_waits_for_redis,
    a_leader_is_stopped_while_it_reclaims: seat_is_kept,
}


@pytest.mark.parametrize("scene", FINDINGS, ids=lambda scene: scene.__name__)
def test_what_was_found_is_mended(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(breaks(scene, seed) for seed in SEEDS)
    FINDINGS[scene](monkeypatch)
    assert any(breaks(scene, seed) for seed in SEEDS)


def breaks(scene: Scene, seed: int) -> bool:
    """Whether an invariant breaks in the scene, as this seed tells it."""
    try:
        World(seed, outage=RedisOutage.STOP).play(scene)
    except ViolationError as broken:
        print(f"{scene.__name__}, {seed}: {broken}")  # type: ignore[attr-defined]
        return True
    return False
