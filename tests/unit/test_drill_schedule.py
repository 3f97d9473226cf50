"""Which faults hit is a matter of the seed alone, and every kind that was asked for gets its turn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.drill.faults import FAULTS, check_faults, ends_a_term, equipment, in_turn, involved
from scheduler_core.drill.jobs import JOB_KINDS, drill_jobs, read_jobs, write_jobs
from scheduler_core.drill.kinds import KINDS
from scheduler_core.drill.pairs import HOLDS, WHY_NOT, clash, pairs
from scheduler_core.drill.schedule import FAULT_NAMES, PAUSE_MS, DrillPlan, planned_faults
from scheduler_core.drill.servers import Equipment, _is_plain, via
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


def two(count: int, **fields: object) -> list[tuple[str, ...]]:
    """The pairs of a drill of `count` faults that each hit two at once."""
    plan = replace(PLAN, faults=("two",), count=count, **fields)  # type: ignore[arg-type]
    return [fault.parts for fault in planned_faults(plan)]


def test_two_at_once_go_through_every_pair_before_any_comes_again() -> None:
    possible = pairs(embedded=True)
    played = two(2 * len(possible))
    first, second = played[: len(possible)], played[len(possible) :]
    assert set(first) == set(second) == set(possible)
    assert first != second
    assert two(20) != two(20, seed=8)
    assert all(fault.parts == (fault.kind,) for fault in planned_faults(PLAN) if fault.kind != "two")


def test_every_kind_is_in_a_pair_but_those_that_are_others() -> None:
    assert set(HOLDS) == set(FAULT_NAMES) - {"two", "stop"}
    assert {kind for pair in pairs(embedded=True) for kind in pair} == set(HOLDS)


def test_which_pairs_there_are_not_and_why() -> None:
    for one in HOLDS:
        for other in HOLDS:
            assert clash(one, other) == clash(other, one)
    why_not = {clash(one, other) for one in HOLDS for other in HOLDS if one != other} - {None}
    assert why_not == set(WHY_NOT.values()), "a reason that nothing has is none"
    assert clash("kill", "stop-1") == WHY_NOT["leader"]
    assert clash("kill", "pg-blackhole") == WHY_NOT["leader's Postgres"]
    assert clash("pg-kill", "pg-failover") == WHY_NOT["Postgres"]
    assert clash("redis-empty", "redis-foreign") in {WHY_NOT["Redis's data"], WHY_NOT["Redis"]}
    assert clash("kill", "kill") == "it is the same fault"
    for pair in (("kill", "pg-failover"), ("stop-2", "redis-blackhole"), ("pg-readonly", "pg-rights")):
        assert clash(*pair) is None


def test_on_servers_that_are_not_ours_two_at_once_break_none_and_need_no_relay() -> None:
    harmless = {kind for kind in HOLDS if FAULTS[kind].breaks_server is None and not FAULTS[kind].proxied}
    assert harmless == {kind for kind in HOLDS if KINDS[kind].on_any_servers}
    assert set(two(300, staging=staging())) == set(pairs(embedded=False))
    assert {kind for pair in pairs(embedded=False) for kind in pair} <= harmless


def test_of_two_at_once_the_one_strikes_first_that_needs_the_other_to_be_well() -> None:
    assert in_turn(("pg-kill", "term")) == ["term", "pg-kill"]
    assert in_turn(("pg-failover", "pg-readonly")) == ["pg-readonly", "pg-failover"]
    assert in_turn(("kill", "pg-terminate-control")) == ["pg-terminate-control", "kill"]


def test_a_leader_that_is_only_held_up_keeps_its_term_where_nobody_can_be_seated() -> None:
    assert ends_a_term(("stop-2",))
    assert ends_a_term(("stop-2", "redis-flush"))
    assert not ends_a_term(("stop-2", "pg-readonly"))
    assert not ends_a_term(("pg-blackhole", "pg-rights"))
    for kind in ("kill", "term", "skew", "all-down"):
        assert ends_a_term((kind, "pg-readonly"))
    assert not ends_a_term(("redis-flush", "pg-readonly"))


def test_nothing_is_made_for_faults_that_are_not_asked_for() -> None:
    assert equipment(involved(replace(PLAN, faults=("kill", "pg-kill", "pg-full")))) == Equipment()
    assert equipment(involved(replace(PLAN, faults=("pg-failover-sync",)))) == Equipment(standby=True)
    assert equipment(involved(replace(PLAN, faults=("two",)))) == Equipment(True, True, True)
    assert equipment(involved(replace(PLAN, faults=("two",), staging=staging()))) == Equipment()


@pytest.mark.parametrize(("faults", "says"), [(("kil",), "did you mean 'kill'"), ((), "choose from kill")])
def test_a_fault_that_does_not_exist(faults: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidSettingsError, match=says):
        planned_faults(replace(PLAN, faults=faults))


def test_every_fault_says_what_it_does() -> None:
    assert tuple(FAULTS) == FAULT_NAMES
    assert all(len(fault.says) > 10 and "\n" not in fault.says for fault in FAULTS.values())


def test_staging_servers_are_not_to_be_broken() -> None:
    plan = replace(PLAN, staging=staging())
    for name in ("redis-down", "redis-flush", "pg-kill", "pg-restart", "pg-readonly", "redis-misconf", "pg-failover"):
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
