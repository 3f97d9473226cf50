"""Lateness and takeover, from what the tasks wrote down: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scheduler_core.drill.takeover import percentile

SLACK_SECONDS = 2.0


@dataclass(frozen=True)
class Fire:
    """One line of a task. Instants are seconds since 1970; due is 0 where the peer does not say it."""

    key: int
    due: float
    at: float
    pid: int


@dataclass(frozen=True)
class Lateness:
    """Milliseconds between due and started; None where nothing fired."""

    due: int
    fired: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True)
class Ticks:
    """What became of the ticks of one stretch of time."""

    due: int
    lost: int
    doubled: int


@dataclass(frozen=True)
class Kill:
    """One takeover. Seconds; None: not within the wait."""

    first_s: float | None
    """From the kill to the survivor's first fire."""
    all_s: float | None
    """… until it had fired each of the schedules."""
    next_due_s: float
    """From the kill to the next due instant: nobody can fire before."""
    waited_s: float
    before: Ticks
    after: Ticks


def parse(lines: Iterable[str]) -> list[Fire]:
    """Read a file of fires. A last line that was cut off by a kill is left out."""
    fires = []
    for line in lines:
        fields = line.split()
        if len(fields) == 4 and line.endswith("\n"):
            fires.append(Fire(int(fields[0]), float(fields[1]), float(fields[2]), int(fields[3])))
    return fires


def lateness(fires: Sequence[Fire], due: int) -> Lateness:
    """Of each key's first fire, of `due` that were asked for."""
    first: dict[int, float] = {}
    for fire in sorted(fires, key=lambda fire: fire.at):
        first.setdefault(fire.key, (fire.at - fire.due) * 1000)
    late = sorted(first.values())
    if not late:
        return Lateness(due, 0, None, None, None)
    p50, p99, worst = (round(value, 2) for value in (percentile(late, 50), percentile(late, 99), late[-1]))
    return Lateness(due, len(late), p50, p99, worst)


def slot(fire: Fire, period: int) -> int:
    """Which tick a fire was for: the one that it names, else the last one before it started."""
    return int(round(fire.due) if fire.due else fire.at) // period


def ticks(fires: Sequence[Fire], schedules: int, period: int, since: float, until: float) -> Ticks:
    """What became of the instants in [since, until), at multiples of the period."""
    first, last = -int(-since // period), -int(-until // period)
    counts = Counter((fire.key, slot(fire, period)) for fire in fires)
    wanted = [(key, number) for key in range(schedules) for number in range(first, last)]
    lost = sum(not counts[tick] for tick in wanted)
    doubled = sum(counts[tick] > 1 for tick in wanted)
    return Ticks(len(wanted), lost, doubled)


def takeover(
    fires: Sequence[Fire],
    *,
    victim: int,
    steady_at: float,
    killed_at: float,
    ended_at: float,
    schedules: int,
    period: int,
) -> Kill:
    """What a kill cost.

    Parameters: victim, the pid; steady_at, since when both processes took part; ended_at, when the wait was over.
    "After" begins two seconds before the kill, for a tick may die under way, and ends two seconds before the end of the
    wait, for a late one is not lost.
    """
    survivors = [fire for fire in fires if fire.pid != victim and fire.at > killed_at]
    first = min((fire.at for fire in survivors), default=None)
    by_key: dict[int, float] = {}
    for fire in survivors:
        by_key[fire.key] = min(fire.at, by_key.get(fire.key, fire.at))
    complete = len(by_key) == schedules
    split = killed_at - SLACK_SECONDS
    return Kill(
        first_s=None if first is None else round(first - killed_at, 3),
        all_s=round(max(by_key.values()) - killed_at, 3) if complete else None,
        next_due_s=round(-(-killed_at // period) * period - killed_at, 3),
        waited_s=round(ended_at - killed_at, 1),
        before=ticks(fires, schedules, period, steady_at, split),
        after=ticks(fires, schedules, period, split, ended_at - SLACK_SECONDS),
    )
