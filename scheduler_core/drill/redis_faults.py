"""How faults strike a Redis that goes on: it refuses writes, or holds what nobody expects in the lease's key.

`drill.faults` is the table of them all.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any, cast

from scheduler_core.drill.healing import lasting, until_done
from scheduler_core.drill.injection import Heal, InjectedFault, NothingInjectedError
from scheduler_core.drill.stage import Leader, Stage, poll

HEAL_SECONDS = 30.0
SAVE_FAILS_SECONDS = 10.0
SAVE_AFTER = "3600 1"
PUT = "redis.call('DEL', KEYS[1]) return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))"
FOREIGN_TOKEN = "of-nobody"  # noqa: S105 - what stands in for a lease's token
FOREIGN_ITEM = "of the drill"


async def no_replicas(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    await _configure(stage, {"min-replicas-to-write": "1"})
    return _lasting(
        stage,
        InjectedFault(at, "Redis: it misses a replica", False),
        lambda: _configure(stage, {"min-replicas-to-write": "0"}),
    )


async def failing_save(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    """Where the dump's file should come there is a folder: Redis can't save, and takes no writes until it can."""
    server = stage.servers.breakable().redis
    assert server is not None
    settings = await _settings(stage, "save", "dbfilename", "stop-writes-on-bgsave-error")
    dump = server.data / settings["dbfilename"]
    _put_folder(dump)

    async def heal() -> None:
        _remove_folder(dump)
        await _configure(
            stage, {"stop-writes-on-bgsave-error": settings["stop-writes-on-bgsave-error"], "save": settings["save"]}
        )
        await _saves(stage, "ok")

    try:
        await _configure(stage, {"save": SAVE_AFTER, "stop-writes-on-bgsave-error": "yes"})
        at = stage.clock.now()
        await _saves(stage, "err")
    except BaseException:
        await until_done(heal, "Redis: its dump", HEAL_SECONDS)()
        raise
    return _lasting(stage, InjectedFault(at, "Redis: it can't save", False), heal)


async def wrong_type(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    """A list lies where the lease should."""
    key = await stage.servers.lease_key()
    at = stage.clock.now()
    await _put(stage, key, "RPUSH", FOREIGN_ITEM)

    async def heal() -> None:
        async with stage.servers.redis() as redis:
            if await redis.type(key) == "list":
                await redis.delete(key)

    return _lasting(stage, InjectedFault(at, "Redis: the lease's key", False), heal)


async def foreign(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    """Somebody's value that never expires lies where the lease should."""
    key = await stage.servers.lease_key()
    at = stage.clock.now()
    await _put(stage, key, "HSET", "token", FOREIGN_TOKEN)

    async def heal() -> None:
        async with stage.servers.redis() as redis:
            if await redis.type(key) == "hash" and await cast("Any", redis.hget(key, "token")) == FOREIGN_TOKEN:
                await redis.delete(key)

    return _lasting(stage, InjectedFault(at, "Redis: the lease's key", False), heal)


async def _put(stage: Stage, key: str, command: str, *arguments: str) -> None:
    """Have nothing under the key but what the command puts there."""
    async with stage.servers.redis() as redis:
        await redis.eval(PUT, 1, key, command, *arguments)


async def _settings(stage: Stage, *names: str) -> dict[str, str]:
    async with stage.servers.redis() as redis:
        return cast("dict[str, str]", await redis.config_get(*names))


async def _configure(stage: Stage, settings: dict[str, str]) -> None:
    async with stage.servers.redis() as redis:
        for name, value in settings.items():
            await redis.config_set(name, value)


async def _saves(stage: Stage, wanted: str) -> None:
    """Have Redis save in the background until that ends as wanted: `ok` or `err`. Raises NothingInjectedError."""

    async def ask() -> bool | None:
        async with stage.servers.redis() as redis:
            status = await redis.info("persistence")
            if status["rdb_last_bgsave_status"] == wanted:
                return True
            if not status["rdb_bgsave_in_progress"]:
                await redis.bgsave()
        return None

    if not await poll(ask, SAVE_FAILS_SECONDS):
        raise NothingInjectedError(f"no save of Redis ended as {wanted!r} within {SAVE_FAILS_SECONDS:g} s")


def _put_folder(place: Path) -> None:
    if place.is_file():
        place.unlink()
    place.mkdir(exist_ok=True)


def _remove_folder(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)


def _lasting(stage: Stage, struck: InjectedFault, undo: Heal) -> InjectedFault:
    return lasting(stage, struck, undo, HEAL_SECONDS)
