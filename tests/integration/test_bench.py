"""The measures work, at sizes that measure nothing: each gives its figures, and leaves no schema behind."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench import add_jobs, idle, lateness, next_fires, outage, pinned, takeover, throughput, tick
from bench.__main__ import MEASURES
from bench.sizes import QUICK
from scheduler_core import ScheduleJob, SchedulerError
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.stage import Servers
from scheduler_core.benchmark.throughput import EPOCH

TINY = replace(
    QUICK,
    fires_at_once=200,
    rounds=1,
    rates_per_second=(50,),
    lateness_seconds=1.0,
    warm_up_seconds=1.0,
    stored_jobs=(200, 250),
    tick_seconds=2.0,
    added_in_bulk=100,
    added_one_by_one=3,
    kills=1,
    idle_seconds=1.0,
    imports=1,
    computed_jobs=100,
)


@pytest.fixture
def servers(database_url: str, redis_url: str, tmp_path: Path) -> Servers:
    return Servers(database_url, redis_url, None, None, tmp_path, print)


@pytest.fixture(autouse=True)
def nothing_stays(sql: psycopg.Connection[Any]) -> Iterator[None]:
    yield
    left = sql.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'scheduler\\_%'").fetchall()
    assert left == [("scheduler_audit",)]


def by_key(figures: list[Figure]) -> dict[str, Figure]:
    """Each key once, each value a number."""
    found = {figure.key: figure for figure in figures}
    assert len(found) == len(figures)
    assert all(math.isfinite(figure.value) and figure.says for figure in figures)
    return found


async def test_throughput_and_its_limit_move_the_same_rows(servers: Servers) -> None:
    found = by_key(await throughput.measure(servers, TINY))
    rate, best = found["throughput.fires_per_second"], max(found["limit.batched"].value, found["limit.at_once"].value)
    assert len(rate.samples) == TINY.rounds
    assert 0 < rate.value < best
    assert found["throughput.percent_of_limit"].value == pytest.approx(rate.value / best * 100, rel=0.01)


async def test_lateness_is_told_by_both_clocks(servers: Servers) -> None:
    found = by_key(await lateness.measure(servers, TINY))
    assert found["lateness.50.not_executed"].value == 0
    for key in ("lateness.50", "lateness.50.callback"):
        p50, p99, most = (found[f"{key}.{name}_ms"].value for name in ("p50", "p99", "max"))
        # A run never starts before it is due, by Postgres's clock; our reading of that is off by microseconds.
        assert -0.5 < p50 <= p99 <= most


async def test_ticks_are_compared_at_one_rate(servers: Servers) -> None:
    found = by_key(await tick.measure(servers, TINY))
    assert found["tick.busy.ratio"].value > 0
    assert found["tick.turns.ratio"].value > 0
    assert found["memory.leader_mb"].value > 10
    assert found["tick.busy.250.leader_ms"].value > 0


async def test_jobs_are_added_in_a_process_of_its_own(servers: Servers) -> None:
    found = by_key(await add_jobs.measure(servers, TINY))
    assert all(figure.value > 0 for figure in found.values())


async def test_idle_and_start_up_and_next_fires(servers: Servers) -> None:
    found = by_key(
        [figure for name in ("idle", "start_up", "next_fires") for figure in await MEASURES[name](servers, TINY)]
    )
    assert found["start_up.leads_ms"].value > found["start_up.import_ms"].value > 0
    assert found["next_fires.next_after_us"].value > 0
    assert idle.FOLLOWERS == 2


async def test_takeover_is_a_drill(servers: Servers) -> None:
    found = by_key(await takeover.measure(servers, TINY))
    assert 0 < found["takeover.p50_ms"].value <= found["takeover.max_ms"].value


async def test_fires_go_on_beside_a_transaction_that_is_left_open(servers: Servers) -> None:
    stretches = await pinned.measure(servers, rate=50, seconds=2.0, stretch_seconds=1.0, renew_seconds=0.5)
    assert len(stretches) == 2
    assert all(each.fires > 0 and each.pages_per_look > 0 and each.pages_per_fire > 0 for each in stretches)


async def test_servers_that_are_not_ours_are_not_broken(servers: Servers) -> None:
    assert await outage.measure(servers, TINY) == []


async def test_a_measure_that_a_machine_can_not_keep_up_with_says_so(servers: Servers) -> None:
    async with servers.stage("slow") as stage, stage.leader() as leader:
        await stage.add_jobs([ScheduleJob("never", "Never", "interval", 3600, "nobody:knows", start_at=EPOCH)])
        far = EPOCH.replace(year=2100)
        with pytest.raises(SchedulerError, match="choose fewer fires"):
            await stage.ended(far, leader, within_seconds=0.5)


async def test_two_measures_do_not_share_a_schema(servers: Servers) -> None:
    async with servers.stage("same") as stage, stage.leader():
        with pytest.raises(SchedulerError, match="another measurement"):
            async with servers.stage("same"):
                pass
        assert await stage.evidence.schema_exists()


async def test_a_replica_that_can_not_start_says_why(servers: Servers) -> None:
    async with servers.stage("broken") as stage:
        broken = replace(stage, settings=stage.settings.model_copy(update={"lease_ttl": 3.0, "schema": "not plain"}))
        with pytest.raises(SchedulerError, match=r"ended with 2: .*not plain"):
            async with broken.leader():
                pass


def test_every_measure_stands_in_the_table() -> None:
    assert {lateness.measure, next_fires.measure, tick.measure} < set(MEASURES.values())


def test_the_command_measures_configured_servers_and_leaves_nothing_there(
    environment: dict[str, str], tmp_path: Path
) -> None:
    words = ["--staging", "--fires", "100", "--rounds", "1", "--rate", "20", "--seconds", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "scheduler_core.cli", "bench", *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["figures"]["throughput.fires_per_second"]["value"] > 0
    assert document["figures"]["lateness.20.not_executed"]["value"] == 0
    assert document["machine"]["python"]


def test_the_command_needs_both_servers_for_staging(environment: dict[str, str], tmp_path: Path) -> None:
    del environment["SCHEDULER_REDIS_URL"]
    done = subprocess.run(
        [sys.executable, "-m", "scheduler_core.cli", "bench", "--staging"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "redis_url" in done.stderr
