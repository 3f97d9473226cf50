"""What a replica costs that has nothing to do: one alone leads; each one more follows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from bench.sizes import Sizes
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.replica import Replica
from scheduler_core.benchmark.stage import Servers, Stage

FOLLOWERS = 2

TRANSACTIONS = """
SELECT xact_commit + xact_rollback AS total FROM pg_stat_database WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Per second: CPU in percent of a core, statements, Redis commands."""

    cpu_percent: float
    statements: float
    redis_commands: float

    def beyond(self, other: Cost, share: int = 1) -> Cost:
        """What came on top of another, for each of `share` replicas."""
        return Cost(
            self.cpu_percent / share,
            (self.statements - other.statements) / share,
            (self.redis_commands - other.redis_commands) / share,
        )


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """CPU, statements and Redis commands of a leader and of a follower."""
    seconds = sizes.idle_seconds
    async with servers.stage("idle") as stage:
        nobody = await _cost(stage, (), seconds / 3)
        async with stage.leader() as leader:
            await asyncio.sleep(sizes.warm_up_seconds)
            alone = await _cost(stage, [leader], seconds)
            async with stage.followers(FOLLOWERS) as followers:
                await asyncio.sleep(sizes.warm_up_seconds)
                together = await _cost(stage, followers, seconds)
    note = f"{seconds:g} s without a job that is due"
    return [
        *_figures("leader", alone.beyond(nobody), note),
        *_figures("follower", together.beyond(alone, FOLLOWERS), note),
    ]


def _figures(who: str, cost: Cost, note: str) -> list[Figure]:
    return [
        Figure(f"idle.{who}.cpu_percent", f"an idle {who}", round(cost.cpu_percent, 2), "% of a core", note=note),
        Figure(f"idle.{who}.statements", f"an idle {who}", round(cost.statements, 1), "statements/s", note=note),
        Figure(f"idle.{who}.redis", f"an idle {who}", round(cost.redis_commands, 1), "Redis commands/s", note=note),
    ]


async def _cost(stage: Stage, replicas: Sequence[Replica], seconds: float) -> Cost:
    async def read() -> tuple[float, float, float]:
        row = await stage.database.fetch_one(TRANSACTIONS)
        assert row is not None
        with redis.Redis.from_url(stage.servers.redis_url) as client:
            commands = client.info("stats")["total_commands_processed"]
        return sum(replica.cpu_seconds() or 0.0 for replica in replicas), float(row.total), float(commands)

    before = await read()
    await asyncio.sleep(seconds)
    cpu, statements, commands = (
        (after - earlier) / seconds for earlier, after in zip(before, await read(), strict=True)
    )
    return Cost(cpu * 100, statements, commands)
