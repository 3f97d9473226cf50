"""From the leader's death by SIGKILL to its successor's first fire: the failover drill, on the same servers."""

from __future__ import annotations

from bench.sizes import Sizes
from scheduler_core import SchedulerError, load_settings
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.stage import Servers
from scheduler_core.drill.checker import check
from scheduler_core.drill.drill import run_drill
from scheduler_core.drill.schedule import DrillPlan
from scheduler_core.drill.takeover import takeover

SEED = 2026
TTL_SECONDS = 3.0


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Percentiles over all kills. Raises SchedulerError if the drill found a promise broken."""
    staging = load_settings(database_url=servers.database_url, redis_url=servers.redis_url)
    plan = DrillPlan(
        replicas=3,
        faults=("kill",),
        count=sizes.kills,
        seed=SEED,
        lease_ttl_seconds=TTL_SECONDS,
        data_dir=None,
        staging=staging,
        all_down_seconds=0.0,
        keep=False,
    )
    evidence = await run_drill(plan, lambda _: None)
    verdict, times = check(evidence), takeover(evidence)
    if not verdict.ok:
        raise SchedulerError(f"the drill found promises broken: {dict(verdict.counts)}; `scheduler drill` shows more")
    spread, note = times.all, f"{sizes.kills} kills, 3 replicas, TTL {TTL_SECONDS:g} s, seed {SEED}"
    return [
        Figure(
            f"takeover.{name}_ms",
            f"leader killed → successor's first fire, {name}",
            round(value, 1),
            "ms",
            note=note,
        )
        for name, value in (("p50", spread.p50), ("p99", spread.p99), ("max", spread.max))
        if value is not None
    ]
