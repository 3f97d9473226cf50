"""Calls every verb where the scheduler is not, and says what came of it: `python -m apps.misplaced HOW`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import redis.asyncio

from scheduler_core import Calendar, LockService, ScheduleJob, SchedulerService, load_settings

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def work() -> None: ...


def hourly(job_id: str = "j") -> ScheduleJob:
    return ScheduleJob(job_id, "J", "interval", 3600, work)


async def all_statuses() -> list[Any]:
    return [status async for status in SchedulerService.fetch_all_jobs_status()]


VERBS: dict[str, Callable[[], Awaitable[Any]]] = {
    "start": SchedulerService.start,
    "stop": SchedulerService.stop,
    "shutdown": SchedulerService.shutdown,
    "add_job": lambda: SchedulerService.add_job(hourly("k")),
    "add_jobs": lambda: SchedulerService.add_jobs([hourly("k")]),
    "remove_job": lambda: SchedulerService.remove_job("j"),
    "add_calendar": lambda: SchedulerService.add_calendar(Calendar("closed", ["2026-12-24"])),
    "remove_calendar": lambda: SchedulerService.remove_calendar("closed"),
    "fetch_calendar": lambda: SchedulerService.fetch_calendar("closed"),
    "trigger_job": lambda: SchedulerService.trigger_job("j"),
    "backfill_job": lambda: SchedulerService.backfill_job("j", LONG_AGO, LONG_AGO + timedelta(hours=2)),
    "rerun": lambda: SchedulerService.rerun(UUID(int=1)),
    "cancel_run": lambda: SchedulerService.cancel_run(UUID(int=1)),
    "pause_job": lambda: SchedulerService.pause_job("j"),
    "resume_job": lambda: SchedulerService.resume_job("j"),
    "revert_job": lambda: SchedulerService.revert_job("j", 1),
    "resign": SchedulerService.resign,
    "fetch_job_status": lambda: SchedulerService.fetch_job_status("j"),
    "fetch_all_jobs_status": all_statuses,
}
"""Every verb that is awaited, called so that it would do something."""


async def begin() -> None:
    SchedulerService.init()
    await SchedulerService.add_calendar(Calendar("closed", ["2026-12-24"]))
    await SchedulerService.add_job(hourly())
    await SchedulerService.start()


async def call(verb: str) -> list[str]:
    """How one verb ends, within a bound."""
    try:
        async with asyncio.timeout(10):
            await VERBS[verb]()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["", ""]


def call_all(*left_out: str) -> dict[str, list[str]]:
    """Each verb in an event loop of its own."""
    return {verb: asyncio.run(call(verb)) for verb in VERBS if verb not in left_out}


async def stored() -> list[str]:
    return [status.job_id for status in await all_statuses()]


def in_another_thread() -> dict[str, Any]:
    """As in a web framework's worker thread, while the scheduler runs in the main one."""

    async def main() -> dict[str, Any]:
        await begin()
        told = await asyncio.to_thread(call_all)
        scheduler = SchedulerService.get_scheduler()
        loop = asyncio.get_running_loop()
        handed = asyncio.run_coroutine_threadsafe
        await asyncio.to_thread(lambda: handed(SchedulerService.add_job(hourly("handed")), loop).result(10))
        after = {"is_running": scheduler.is_running, "stored": await stored()}
        await SchedulerService.shutdown()
        return {"told": told, "after": after}

    return asyncio.run(main())


def after_the_loop() -> dict[str, Any]:
    """As in a script that calls `asyncio.run` for each step."""
    asyncio.run(begin())
    told = call_all("stop", "shutdown")
    asyncio.run(SchedulerService.shutdown())

    async def anew() -> list[str]:
        await begin()
        try:
            return await stored()
        finally:
            await SchedulerService.shutdown()

    return {"told": told, "after": {"stored": asyncio.run(anew())}}


def after_a_stop() -> dict[str, Any]:
    """The second `asyncio.run` starts again what the first one has stopped: nothing is wrong with that."""
    for _ in range(2):

        async def once() -> list[str]:
            await (begin() if not SchedulerService.is_initialized() else SchedulerService.start())
            try:
                return await stored()
            finally:
                await SchedulerService.stop()

        last = asyncio.run(once())
    asyncio.run(SchedulerService.shutdown())
    return {"told": {}, "after": {"stored": last}}


def forked(work: Callable[[], Any]) -> Any:
    """What a forked child makes of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(work()).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as told:
        document = told.read()
    os.waitpid(child, 0)
    return json.loads(document)


def in_a_fork() -> dict[str, Any]:
    """As in a multiprocessing child, whose parent goes on."""

    async def start_here() -> list[str]:
        SchedulerService.init()
        await SchedulerService.add_job(hourly("of-the-child"))
        await SchedulerService.start()
        return [SchedulerService.get_scheduler().instance.instance_id, *await stored()]

    def child() -> dict[str, Any]:
        was_initialized = SchedulerService.is_initialized()
        told = call_all("shutdown")
        asyncio.run(SchedulerService.shutdown())
        own = asyncio.run(start_here())
        asyncio.run(SchedulerService.shutdown())
        return {"told": told, "was_initialized": was_initialized, "own": own}

    async def main() -> dict[str, Any]:
        await begin()
        scheduler = SchedulerService.get_scheduler()
        document = await asyncio.to_thread(forked, child)
        # The parent's own sessions were not ended by the child, nor its loop disturbed.
        document["after"] = {
            "is_running": scheduler.is_running,
            "id": scheduler.instance.instance_id,
            "leads": scheduler.is_leader,
            "stored": await stored(),
        }
        await SchedulerService.shutdown()
        return document

    return asyncio.run(main())


def before_the_fork() -> dict[str, Any]:
    """As with gunicorn's preload: a scheduler that was made, and not started, in the parent."""
    SchedulerService.init()
    asyncio.run(SchedulerService.add_job(hourly()))
    return forked(lambda: {"told": call_all("shutdown"), "after": {}})


def wired_before_the_fork() -> dict[str, Any]:
    """Only `init` was called in the parent: nothing is wrong with that."""
    SchedulerService.init()

    async def child() -> list[str]:
        await SchedulerService.add_job(hourly())
        await SchedulerService.start()
        try:
            return await stored()
        finally:
            await SchedulerService.shutdown()

    return {"told": {}, "after": {"stored": forked(lambda: asyncio.run(child()))}}


def lock_elsewhere() -> dict[str, Any]:
    """A lock service whose client has connected in another event loop."""
    locks = LockService(redis.asyncio.Redis.from_url(str(load_settings().redis_url)))

    async def take() -> list[str]:
        try:
            await locks.acquire("misplaced", 0.1)
        except Exception as error:
            return [type(error).__name__, str(error)]
        return ["", ""]

    first = asyncio.run(take())
    assert first == ["", ""]
    return {"told": {"acquire": asyncio.run(take())}, "after": {}}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
