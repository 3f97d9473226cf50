"""Which faults hit is a matter of the seed alone, and every kind that was asked for gets its turn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.drill.faults import FAULTS, check_faults, involved
from scheduler_core.drill.jobs import JOB_KINDS, drill_jobs, read_jobs, write_jobs
from scheduler_core.drill.schedule import (
    FAULT_NAMES,
    PAUSE_MS,
    PROCESS_FAULTS,
    SERVER_FAULTS,
    DrillPlan,
    planned_faults,
)
from scheduler_core.drill.servers import _is_plain, via
from scheduler_core.settings import Settings

PLAN = DrillPlan(
    replicas=3,
    faults=FAULT_NAMES,
    count=3 * len(FAULT_NAMES),
    seed=7,
    lease_ttl_seconds=3.0,
    data_dir=None,
    staging=None,
    all_down_seconds=5.0,
    keep=False,
)


def staging(**urls: str) -> Settings:
    return Settings(database_url="postgresql://u:p@db/app", redis_url="redis://:p@cache", **urls)  # type: ignore[arg-type]


def test_the_same_plan_is_the_same_drill() -> None:
    assert planned_faults(PLAN) == planned_faults(PLAN)
    assert planned_faults(PLAN) != planned_faults(replace(PLAN, seed=8))


def test_every_kind_gets_its_turn_before_any_comes_again() -> None:
    planned = planned_faults(PLAN)
    assert [fault.number for fault in planned] == list(range(1, PLAN.count + 1))
    size = len(FAULT_NAMES)
    for start in range(0, PLAN.count, size):
        assert {fault.kind for fault in planned[start : start + size]} == set(FAULT_NAMES)
    assert [f.kind for f in planned[:size]] != [f.kind for f in planned[size : 2 * size]]
    assert len(planned_faults(replace(PLAN, count=5))) == 5


def test_pauses_are_out_of_step_and_bounded() -> None:
    pauses = Counter(fault.pause_ms for fault in planned_faults(PLAN))
    assert all(PAUSE_MS[0] <= pause <= PAUSE_MS[1] for pause in pauses)
    assert len(pauses) > len(FAULT_NAMES)


def test_two_at_once_are_one_of_each_kind() -> None:
    parts = {fault.parts for fault in planned_faults(replace(PLAN, faults=("two",), count=200))}
    assert len(parts) > 20
    assert {first for first, _ in parts} == set(PROCESS_FAULTS)
    assert {second for _, second in parts} == set(SERVER_FAULTS)
    elsewhere = replace(PLAN, faults=("two",), count=50, staging=staging())
    assert not {second for _, second in (f.parts for f in planned_faults(elsewhere))} & set(SERVER_FAULTS)
    assert all(f.parts == (f.kind,) for f in planned_faults(PLAN) if f.kind != "two")


@pytest.mark.parametrize(("faults", "says"), [(("kil",), "did you mean 'kill'"), ((), "choose from kill")])
def test_a_fault_that_does_not_exist(faults: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidSettingsError, match=says):
        planned_faults(replace(PLAN, faults=faults))


def test_every_fault_says_what_it_does() -> None:
    assert tuple(FAULTS) == FAULT_NAMES
    assert all(len(fault.says) > 10 and "\n" not in fault.says for fault in FAULTS.values())


def test_staging_servers_are_not_to_be_broken() -> None:
    plan = replace(PLAN, staging=staging())
    for name in ("redis-down", "redis-flush", "pg-kill", "pg-restart"):
        with pytest.raises(InvalidSettingsError, match=f"{name}.*not the drill's own"):
            check_faults(involved(replace(plan, faults=(name,))), embedded=False, proxiable=lambda _: True)
    harmless = replace(plan, faults=("kill", "stop", "two", "pg-blackhole", "pg-terminate-control"))
    check_faults(involved(harmless), embedded=False, proxiable=lambda _: True)
    with pytest.raises(InvalidSettingsError, match=r"pg-blackhole.*relay"):
        check_faults(involved(harmless), embedded=False, proxiable=lambda server: server == "redis")


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("postgresql://u:p@db:5432/app", True),
        ("postgresql+asyncpg://u:p@db/app?sslmode=prefer", True),
        ("redis://:p@cache:6379/0", True),
        ("rediss://:p@cache:6379/0", False),
        ("postgresql://u:p@db/app?sslmode=verify-full", False),
        ("postgresql://u:p@db/app?ssl=require", False),
        ("postgresql:///app?host=/run/postgresql", False),
        ("postgresql://u:p@db1,db2/app", False),
        ("unix:///run/redis.sock", False),
        ("redis+sentinel://cache/main", False),
    ],
)
def test_where_a_relay_can_stand(url: str, plain: bool) -> None:
    assert _is_plain(url) is plain


def test_a_url_by_way_of_a_relay_keeps_everything_else() -> None:
    assert via("postgresql://u:p%40@db:5432/app?x=1", "127.0.0.1", 7) == "postgresql://u:p%40@127.0.0.1:7/app?x=1"
    assert via("redis://cache/0", "127.0.0.1", 7) == "redis://127.0.0.1:7/0"


def test_the_jobs_are_out_of_step_and_survive_their_file(tmp_path: pytest.TempPathFactory) -> None:
    begins_at = datetime(2026, 1, 2, 3, 4, 5, 6_000, tzinfo=UTC)
    jobs = drill_jobs(begins_at)
    assert [job.job_id for job in jobs] == [kind.job_id for kind in JOB_KINDS]
    assert min(job.starts_at for job in jobs) == begins_at
    assert len({(job.starts_at - begins_at) // timedelta(milliseconds=1) for job in jobs}) == len(jobs)
    assert {job.delivery for job in jobs} == {"at_least_once", "at_most_once"}
    path = tmp_path / "drill.json"  # type: ignore[operator]
    write_jobs(path, jobs, path.parent)
    assert read_jobs(path) == (path.parent, {job.job_id: job.starts_at for job in jobs})
