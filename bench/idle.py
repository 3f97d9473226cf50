"""What a replica costs that has nothing to do: one alone leads; each one more follows."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence

import redis

from bench.stage import Stage, cpu_seconds
from scheduler_core import Container, load_settings

WARM_UP_SECONDS = 5.0

Processes = Sequence[subprocess.Popen[bytes]]

TRANSACTIONS = """
SELECT xact_commit + xact_rollback AS total FROM pg_stat_database WHERE datname = current_database()
"""


async def measure(stage: Stage, seconds: float) -> dict[str, dict[str, float]]:
    """Returns CPU (percent of one core), statements and Redis commands per second, of a leader and of a follower."""
    container = Container(load_settings(database_url=stage.database_url, redis_url=stage.redis_url))
    try:
        await container.prepare()
        nobody = await _traffic(stage, container, seconds / 3)
        with stage.replicas("bench.idle_app", 1) as [leader]:
            await asyncio.sleep(WARM_UP_SECONDS)
            alone, leader_cpu = await _cost(stage, container, [leader], seconds)
            with stage.replicas("bench.idle_app", 2) as followers:
                await asyncio.sleep(WARM_UP_SECONDS)
                together, followers_cpu = await _cost(stage, container, followers, seconds)
        return {
            "leader": {
                "cpu_percent": round(leader_cpu, 2),
                "statements_per_second": round(alone[0] - nobody[0], 1),
                "redis_commands_per_second": round(alone[1] - nobody[1], 1),
            },
            "follower": {
                "cpu_percent": round(followers_cpu / 2, 2),
                "statements_per_second": round((together[0] - alone[0]) / 2, 1),
                "redis_commands_per_second": round((together[1] - alone[1]) / 2, 1),
            },
        }
    finally:
        await container.close()


async def _cost(
    stage: Stage, container: Container, processes: Processes, seconds: float
) -> tuple[tuple[float, float], float]:
    before = [cpu_seconds(process) for process in processes]
    traffic = await _traffic(stage, container, seconds)
    used = sum(cpu_seconds(process) for process in processes) - sum(before)
    return traffic, used / seconds * 100


async def _traffic(stage: Stage, container: Container, seconds: float) -> tuple[float, float]:
    """Transactions of Postgres and commands of Redis, per second, by their own counters."""

    async def read() -> tuple[int, int]:
        row = await container.get_database().fetch_one(TRANSACTIONS)
        assert row is not None
        with redis.Redis.from_url(stage.redis_url) as client:
            return int(row.total), int(client.info("stats")["total_commands_processed"])

    before = await read()
    await asyncio.sleep(seconds)
    after = await read()
    return (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds
