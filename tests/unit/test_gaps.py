"""`domain.gaps` against histories that the product's own verbs and planning made up on a virtual clock.

A history without a fault shows no gap; take any rows out of it, and exactly their occurrences are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import InvalidJobError, JobNotFoundError
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob
from scheduler_core.domain.planning.gaps import Change, Era, Gap, GapFinder, JobHistory
from scheduler_core.domain.planning.planning import StoredJob, occurrences, plan
from scheduler_core.domain.planning.segments import TICK
from scheduler_core.domain.schedule import Schedule, parse_schedule
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.ports.jobs import Declared
from scheduler_core.ports.runs import Settlement
from scheduler_core.ports.storage import Storage
from scheduler_core.testing.clock import VirtualClock
from scheduler_core.testing.ledger import Ledger

START = datetime(2026, 3, 20, tzinfo=UTC)
WHO = Actor(Source.CODE, "test")
Row = tuple[datetime, datetime, int | None]


def document(definition: JobDefinition, anchor: datetime) -> dict[str, Any]:
    columns = {item.name: getattr(definition, item.name) for item in fields(definition)}
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}
    return plain | {"anchor": anchor.isoformat()}


class LoggedLedger(Ledger):
    """A ledger that keeps the log, as the triggers do."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.log: list[Change] = []

    def note(self, at: datetime) -> None:
        job = self.jobs.get("j")
        self.log.append(Change(len(self.log) + 1, at, None if job is None else document(job.definition, job.anchor)))

    async def declare(self, jobs: Iterable[StoredJob], instance_id: str, actor: Actor) -> Declared:
        declared = await super().declare(jobs, instance_id, actor)
        for job in declared.added:
            self.note(job.anchor)
        return declared

    async def settle(self, settlement: Settlement, actor: Actor, at: datetime) -> bool:
        settled = await super().settle(settlement, actor, at)
        self.note(at)
        return settled


class History:
    """A job's life on a virtual clock, by chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = VirtualClock(START)
        self.ledger = LoggedLedger(self.clock)
        calendars = SimpleNamespace(load=self.ledger.load_calendars)
        self.storage = cast("Storage", SimpleNamespace(jobs=self.ledger, runs=self.ledger, calendars=calendars))
        self.calendar()

    @property
    def operations(self) -> Operations:
        """Those of a new process, which may declare what it likes."""
        return Operations(self.storage, "replica", WHO, self.clock.now())

    def calendar(self) -> None:
        days = [START.date() + timedelta(days=self.random.randrange(40)) for _ in range(5)]
        period = START + timedelta(hours=self.random.randrange(900))
        self.ledger.add_calendar(
            Calendar("c", days, self.random.sample(["sat", "sun", "mon"], 2), [(period, period + timedelta(hours=30))])
        )

    def job(self) -> ScheduleJob:
        now, chance = self.clock.now(), self.random
        kind, value = chance.choice(
            [
                ("interval", chance.choice([17, 61.5, 600, 7200])),
                ("daily", chance.choice([["02:30", "14:00"], "00:00"])),
                ("cron", chance.choice(["*/7 * * * *", "0 3 * * *", "30 1-4 * * sun", "*/20 * * * * *"])),
                ("cron", chance.choice(["*/5 * * * *", "17 * * * *"])),
                ("interval", chance.choice([45, 120])),
                ("once", (now + timedelta(hours=chance.randrange(-10, 60))).isoformat()),
            ]
        )
        return ScheduleJob(
            "j",
            "J",
            kind,
            value,
            "module:call",
            timezone=chance.choice(["UTC", "Europe/Berlin", "America/New_York"]),
            enabled=chance.random() < 0.9,
            start_at=now + timedelta(hours=chance.randrange(20)) if chance.random() < 0.1 else None,
            end_at=now + timedelta(hours=80) if chance.random() < 0.1 and kind != "once" else None,
            misfire=chance.choice(["latest", "all", "skip"]),
            misfire_grace=chance.choice([0, 10, 4000]),
            catch_up_limit=chance.choice([1, 30]),
            jitter=chance.choice([0, 0, 5, 300]),
            calendars=["c"] if chance.random() < 0.5 else [],
        )

    def lead(self, seconds: float) -> None:
        """Let a leader work for so long."""
        until = self.clock.now() + timedelta(seconds=seconds)
        while (due := self.ledger.next_due_at()) is not None and due <= until:
            self.clock.set(max(due, self.clock.now()))
            for job in self.ledger.due(self.clock.now()):
                self.ledger.claim(plan(job, self.clock.now(), timedelta(milliseconds=50)))
        self.clock.set(until)

    async def step(self) -> None:
        chance, now = self.random, self.clock.now()
        try:
            match chance.randrange(14):
                case 0 | 1:
                    await self.operations.declare([self.job().definition("UTC")])
                case 2 if chance.random() < 0.5:
                    until = now + timedelta(seconds=chance.randrange(1, 100_000)) if chance.random() < 0.5 else None
                    await self.operations.pause("j", until=until)
                case 3 | 4:
                    await self.operations.resume("j")
                case 5 if chance.random() < 0.4:
                    await self.operations.remove("j")
                case 9:
                    self.calendar()
                case 6 if "j" in self.ledger.jobs:
                    failed = replace(self.ledger.jobs["j"], auto_disabled_at=now, due_at=None)
                    self.ledger.jobs["j"] = failed
                case 7:
                    # Nobody leads for a while.
                    self.clock.set(now + timedelta(seconds=chance.randrange(1, 200_000)))
                case _:
                    self.lead(chance.choice([0.5, 600, 8_000, 30_000]))
        except (JobNotFoundError, InvalidJobError):
            pass

    async def live(self, steps: int) -> None:
        for _ in range(steps):
            await self.step()
            self.clock.set(self.clock.now() + timedelta(microseconds=self.random.randrange(3_000_000)))
        self.lead(1)

    @property
    def rows(self) -> list[Row]:
        return [
            (run.missed_from or run.scheduled_for, run.scheduled_for, run.missed_count)
            for run in self.ledger.runs.values()
        ]

    def horizon(self) -> datetime:
        job = self.ledger.jobs.get("j")
        now = self.clock.now()
        return now if job is None or job.next_run is None else min(now, job.next_run - TICK)


def eras_of(log: Sequence[Change]) -> list[Era]:
    history = JobHistory()
    for change in log:
        history.add(change)
    assert not history.unreadable
    return history.eras


def found(eras: Sequence[Era], rows: Sequence[Row], end: datetime, start: datetime = START) -> list[Gap]:
    finder = GapFinder("j", eras, start, end)
    for first, last, counted in sorted(rows, key=lambda row: row[1], reverse=True):
        finder.cover(first, last, counted)
    finder.close()
    return finder.gaps


def instants(gaps: Sequence[Gap], eras: Sequence[Era]) -> set[datetime]:
    """Walked one by one, where the finder counts."""
    schedules = {era.version: era.schedule for era in eras}
    walked: set[datetime] = set()
    for gap in gaps:
        within = set(occurrences(schedules[gap.version], gap.first - TICK, gap.last))
        assert len(within) == gap.count
        walked |= within
    return walked


@pytest.mark.parametrize("seed", range(60))
async def test_exactly_the_rows_that_are_taken_out_are_found(seed: int) -> None:
    history = History(seed)
    await history.live(60)
    eras, rows, end = eras_of(history.ledger.log), history.rows, history.horizon()
    assert found(eras, rows, end) == [], "a history without a fault has no gap"

    for share in (0.02, 0.5, 1.0):
        taken = [row for row in rows if history.random.random() < share]
        left = [row for row in rows if row not in taken]
        expected = {
            instant
            for first, last, _ in taken
            for era in eras
            for instant in occurrences(era.schedule, max(first - TICK, era.since), min(last, era.until))
            if START <= instant <= end and not any(low <= instant <= high for low, high, _ in left)
        }
        assert instants(found(eras, left, end), eras) == expected


def every(seconds: float, anchor: datetime = START) -> Schedule:
    return parse_schedule("interval", seconds, timezone="UTC", anchor=anchor)


def minutes(*numbers: float) -> list[datetime]:
    return [START + timedelta(minutes=number) for number in numbers]


def row(minute: float, first: float | None = None, counted: int | None = None) -> Row:
    last, begin = minutes(minute, minute if first is None else first)
    return begin, last, counted


def test_a_count_covers_what_it_stands_for_also_from_behind_the_window() -> None:
    eras = [Era(1, every(60), START)]
    assert found(eras, [row(9, 1, 9)], START + timedelta(minutes=4)) == []
    [gap] = found(eras, [row(9, 3, 7)], START + timedelta(minutes=4))
    assert (gap.first, gap.last, gap.count) == (*minutes(1, 2), 2)


def test_a_row_within_a_count_does_not_uncover_the_rest() -> None:
    """A backfilled run stands where a `missed` row still counts it."""
    eras = [Era(1, every(60), START)]
    assert found(eras, [row(9, 1, 9), row(4), row(5)], START + timedelta(minutes=9)) == []


def test_a_count_that_is_too_low_is_told() -> None:
    eras = [Era(1, every(60), START)]
    [gap] = found(eras, [row(9, 1, 7)], START + timedelta(minutes=9))
    assert (gap.kind, gap.count) == ("miscounted", 2)


def test_a_row_off_the_schedule_makes_up_for_nothing() -> None:
    eras = [Era(1, every(60), START)]
    [gap] = found(eras, [row(1), row(2.5), row(3)], START + timedelta(minutes=3))
    assert (gap.first, gap.count) == (minutes(2)[0], 1)


def test_what_a_definition_owed_ends_with_it() -> None:
    begin, change, end = minutes(0, 2.5, 10)
    eras = [Era(1, every(60), begin, change), Era(2, every(120, change), change)]
    gaps = found(eras, [row(1), row(4.5), row(6.5)], end)
    assert [(gap.first, gap.count, gap.version) for gap in gaps] == [(minutes(8.5)[0], 1, 2), (minutes(2)[0], 1, 1)]


def test_a_definition_that_nobody_can_read_is_told_and_owes_nothing() -> None:
    history = JobHistory()
    definition = ScheduleJob("j", "J", "interval", 60, "m:c").definition("UTC")
    history.add(Change(1, START, document(definition, START)))
    history.add(Change(2, minutes(3)[0], document(definition, START) | {"timezone": "Mars/Olympus"}))
    history.add(Change(3, minutes(6)[0], None))
    assert history.unreadable == [2]
    assert [(era.since, era.until) for era in history.eras] == [tuple(minutes(0, 3))]


def test_two_months_of_seconds_are_counted_without_a_walk() -> None:
    end = START + timedelta(days=60)
    finder = GapFinder("j", [Era(1, every(1), START)], START, end)
    assert finder.expected == 60 * 86_400
    finder.close()
    assert [gap.count for gap in finder.gaps] == [60 * 86_400]


def once_log(*, stored_hours_later: Sequence[float]) -> list[Change]:
    """A ONCE at START, stored at these times and removed an hour after each."""
    log: list[Change] = []
    definition = ScheduleJob("j", "J", "once", START.isoformat(), "m:c").definition("UTC")
    for hours in stored_hours_later:
        at = START + timedelta(hours=hours)
        log.append(Change(len(log) + 1, at, document(definition, at)))
        log.append(Change(len(log) + 1, at + timedelta(hours=1), None))
    return log


def test_a_once_that_was_past_when_it_was_stored_is_owed() -> None:
    eras = eras_of(once_log(stored_hours_later=[5]))
    [gap] = found(eras, [], START + timedelta(days=1), START - timedelta(days=1))
    assert (gap.first, gap.last, gap.count) == (START, START, 1)
    assert found(eras, [row(0)], START + timedelta(days=1), START - timedelta(days=1)) == []


def test_a_once_that_was_stored_again_is_owed_once() -> None:
    eras = eras_of(once_log(stored_hours_later=[-3, 5, 20]))
    gaps = found(eras, [], START + timedelta(days=2), START - timedelta(days=1))
    assert [(gap.first, gap.count) for gap in gaps] == [(START, 1)]


def test_an_earlier_schedule_is_owed_beside_a_once_that_was_past() -> None:
    """The ONCE reaches back over the era before it; that one still owes what lies on both sides."""
    hourly = Era(1, every(3600, START - timedelta(days=1)), START - timedelta(days=1), START + timedelta(hours=3))
    eras = [hourly, *(replace(era, version=9) for era in eras_of(once_log(stored_hours_later=[5])))]
    end = START + timedelta(days=1)
    gaps = found(eras, [row(60), row(-60)], end, START - timedelta(hours=3))
    assert sorted(instants(gaps, eras)) == [START + timedelta(hours=hours) for hours in (-3, -2, 0, 2, 3)]
