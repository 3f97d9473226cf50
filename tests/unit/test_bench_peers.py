"""The arithmetic and the table of the comparison with the peers; no peer is installed for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.peers import catalogue, figures, inside, table, venvs
from bench.peers.figures import Fire, Lateness, Ticks

NAMES = [peer.name for peer in catalogue.PEERS]


def test_lateness_is_of_each_jobs_first_fire() -> None:
    fires = [Fire(0, 10.0, 10.002, 1), Fire(0, 10.0, 10.9, 2), Fire(1, 11.0, 11.004, 1)]
    assert figures.lateness(fires, 3) == Lateness(due=3, fired=2, p50_ms=2.0, p99_ms=4.0, max_ms=4.0)


def test_lateness_of_nothing_is_no_figure() -> None:
    assert figures.lateness([], 5) == Lateness(5, 0, None, None, None)


def test_a_line_that_a_kill_cut_off_is_no_fire() -> None:
    assert figures.parse(["1 10.000000 10.500000 77\n", "2 11.0000"]) == [Fire(1, 10.0, 10.5, 77)]
    assert figures.parse(["1 10.000000 10.500000 7"]) == []


@pytest.mark.parametrize(
    ("fire", "period", "expected"),
    [
        (Fire(0, 0, 10.999, 1), 1, 10),
        (Fire(0, 9.0, 10.2, 1), 1, 9),
        (Fire(0, 8.9999996, 9.2, 1), 1, 9),
        (Fire(0, 0, 119.0, 1), 60, 1),
        (Fire(0, 120.0, 181.0, 1), 60, 2),
    ],
)
def test_a_fire_belongs_to_the_tick_that_it_names_or_else_to_the_last_one(
    fire: Fire, period: int, expected: int
) -> None:
    assert figures.slot(fire, period) == expected


def test_ticks_are_counted_per_schedule_from_the_first_instant_to_before_the_last() -> None:
    fires = [Fire(0, at, at, 1) for at in (10.0, 11.0, 13.0)] + [Fire(1, 10.0, 10.1, 1), Fire(1, 10.0, 10.2, 2)]
    assert figures.ticks(fires, 2, 1, 10.0, 13.0) == Ticks(due=6, lost=3, doubled=1)
    assert figures.ticks(fires, 2, 1, 10.5, 11.0) == Ticks(due=0, lost=0, doubled=0)


def kill(fires: list[Fire], **other: Any) -> figures.Kill:
    given = {"victim": 1, "steady_at": 10.0, "killed_at": 14.9, "ended_at": 20.0, "schedules": 2, "period": 1}
    return figures.takeover(fires, **(given | other))


def test_a_takeover_is_measured_to_the_survivors_fire_not_to_the_victims_last_words() -> None:
    before = [Fire(key, at, at, 1) for key in (0, 1) for at in (10.0, 11.0, 12.0, 13.0, 14.0)]
    late = [Fire(0, 15.0, 14.95, 1)]
    after = [Fire(0, at, at + 0.5, 2) for at in (16.0, 17.0)] + [Fire(1, at, at + 0.6, 2) for at in (16.0, 17.0)]
    found = kill([*before, *late, *after])
    assert (found.first_s, found.all_s, found.next_due_s) == (1.6, 1.7, 0.1)
    assert found.before == Ticks(due=6, lost=0, doubled=0)
    assert found.after == Ticks(due=10, lost=1, doubled=0)


def test_a_schedule_that_nobody_fires_again_is_no_complete_takeover() -> None:
    found = kill([Fire(0, 15.0, 15.2, 2)])
    assert (found.first_s, found.all_s) == (0.3, None)


def test_without_a_survivor_there_is_only_the_wait() -> None:
    found = kill([Fire(0, 14.0, 14.0, 1)])
    assert (found.first_s, found.all_s, found.waited_s) == (None, None, 5.1)


def test_two_processes_that_both_fire_are_seen_before_the_kill() -> None:
    both = [Fire(key, 0, at + pid / 100, pid) for key in (0, 1) for at in (10.0, 11.0, 12.0) for pid in (1, 2)]
    assert kill(both).before == Ticks(due=6, lost=0, doubled=6)


def row(name: str, **figures_of_it: Any) -> table.Row:
    measures = dict.fromkeys(("throughput", "lateness_100", "lateness_1000", "takeover"), table.no("not asked for"))
    return {"name": name, "title": name, "version": "1", "recorded": "a row", "notes": []} | measures | figures_of_it


def a_kill(first_s: float | None, doubled: int = 2) -> dict[str, Any]:
    return {
        "first_s": first_s,
        "all_s": first_s,
        "next_due_s": 0.1,
        "waited_s": 90.0,
        "before": {"due": 30, "lost": 0, "doubled": doubled},
        "after": {"due": 40, "lost": 3, "doubled": 1},
    }


def test_several_kills_are_summed_up_by_the_middle_one() -> None:
    found = table.kills([a_kill(0.2), a_kill(0.9), a_kill(0.3)])
    assert (found["kills"], found["first_s"], found["max_s"]) == (3, 0.3, 0.9)
    assert (found["lost_after"], found["due_after"], found["doubled_after"], found["doubled_before"]) == (9, 120, 3, 6)
    assert found["after_due_s"] == 0.2


def test_one_kill_without_a_survivor_is_no_time_at_all() -> None:
    assert table.kills([a_kill(0.2), a_kill(None)])["first_s"] is None


def test_two_processes_that_both_fire_take_nothing_over() -> None:
    found = table.kills([a_kill(0.1, doubled=28)])
    assert found["both_fire"]
    assert found["first_s"] is None
    text = table.text(table.with_ratios([row("ours", takeover=found)]))
    assert "both fire" in text
    assert "1/40 (28/30)" in text


def test_ratios_above_one_say_that_ours_is_better() -> None:
    ours = row("ours", throughput={"fires_per_second": 30_000}, lateness_100={"p50_ms": 0.5, "p99_ms": 2.0})
    peer = row("peer", throughput={"fires_per_second": 15_000}, lateness_100={"p50_ms": 50.0, "p99_ms": 1.0})
    ratios = table.with_ratios([ours, peer])[1]["ratios"]
    assert (ratios["throughput"], ratios["lateness_100_p50"], ratios["lateness_100_p99"]) == (2.0, 100.0, 0.5)
    assert ratios["takeover"] is None


def test_the_table_says_no_with_the_reason_and_marks_what_is_incomplete() -> None:
    ours = row("ours", throughput={"fires_per_second": 30_000}, takeover=table.kills([a_kill(0.1)]))
    peer = row(
        "peer",
        takeover=table.kills([a_kill(None)]),
        lateness_1000={"p50_ms": 10.0, "p99_ms": 20.0, "fired": 90, "due": 100},
        throughput=table.no("it knows no such thing"),
        notes=["takeover: no leader election"],
    )
    text = table.text(table.with_ratios([ours, peer]))
    line = next(line for line in text.splitlines() if line.startswith("peer 1"))
    assert "no" in line.split()
    assert "> 90" in line
    assert "20.00 (90/100)" in line
    assert "3/40" in line
    assert "throughput: no: it knows no such thing" in text
    assert "takeover: no leader election" in text


@pytest.mark.parametrize("name", NAMES)
def test_each_peer_has_exact_versions_and_a_file_of_its_own(name: str) -> None:
    peer = next(peer for peer in catalogue.PEERS if peer.name == name)
    lines = (venvs.REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert wanted
    assert all(line.count("==") == 1 and "/" not in line for line in wanted)
    assert venvs.version(peer)
    source = Path(inside.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    assert all(f"def {function}(" in source for function in ("install", "enqueue", "work", "counter"))


def given(**other: object) -> inside.Given:
    options = {"database-url": "d", "redis-url": "r", "folder": "f", "mode": "lateness", "limit": 60} | other
    return inside.parse(["oban", "wait", *(f"--{name}={value}" for name, value in options.items())])


def test_the_command_line_of_a_peers_environment_is_read_back() -> None:
    read = given(limit=9.5, count=3, due=100.0, spacing=0.01)
    assert (read.peer, read.command, read.mode, read.limit, read.count) == ("oban", "wait", "lateness", 9.5, 3)
    assert read.instant(2) == pytest.approx(100.02)


def test_waiting_for_outcomes_ends_with_the_last_one() -> None:
    counts = iter([0, 1, 2, 3])
    assert inside.wait(given(count=2, until=1e12), lambda: next(counts))["done"] == 2


def test_waiting_for_outcomes_ends_with_the_limit_and_says_how_many_there_are() -> None:
    assert inside.wait(given(count=2, until=1.0), lambda: 1)["done"] == 1


def test_a_type_statement_becomes_an_assignment() -> None:
    assert venvs.ALIAS.sub(r"\1 = ", "x = 1\ntype Result[T] = int | T\n") == "x = 1\nResult = int | T\n"
