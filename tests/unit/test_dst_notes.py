"""What is said about occurrences around a change of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler_core.domain.schedule import Dst, ScheduleType, parse_schedule
from scheduler_core.domain.schedule.dst_notes import dst_note

SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)


def notes(kind: ScheduleType, value: Any, after: datetime, zone: str = "Europe/Berlin", dst: Dst = Dst.ONCE) -> Any:
    schedule = parse_schedule(kind, value, timezone=zone, anchor=after, start_at=None, end_at=None, dst=dst)
    found, instant = [], after
    for _ in range(3):
        following = schedule.next_after(instant)
        assert following is not None
        instant = following
        found.append((f"{instant:%d %H:%M}", dst_note(schedule, instant)))
    return found


def test_a_wall_time_in_the_gap_fires_behind_it() -> None:
    gap = "02:30 does not exist on that day: the clocks go from 02:00 to 03:00, and it fires then"
    assert notes(ScheduleType.DAILY, ["02:30"], SPRING) == [("29 01:00", gap), ("30 00:30", None), ("31 00:30", None)]
    assert notes(ScheduleType.CRON, "30 2 * * *", SPRING)[0] == ("29 01:00", gap)
    skipped = notes(ScheduleType.DAILY, ["02:30"], SPRING, dst=Dst.SKIP)
    assert [note for _, note in skipped] == [None] * 3


def test_a_gap_of_another_size_and_at_midnight() -> None:
    (instant, note), *_ = notes(ScheduleType.DAILY, ["02:10"], datetime(2026, 10, 3, tzinfo=UTC), "Australia/Lord_Howe")
    assert (instant, note) == (
        "03 15:30",
        "02:10 does not exist on that day: the clocks go from 02:00 to 02:30, and it fires then",
    )


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        (
            Dst.ONCE,
            [
                "02:30 exists twice on that day: this is the first one, and it fires at this one only",
                None,
                None,
            ],
        ),
        (
            Dst.BOTH,
            [
                "02:30 exists twice on that day: this is the first one, and it fires at both",
                "02:30 exists twice on that day: this is the second one",
                None,
            ],
        ),
    ],
)
def test_a_wall_time_that_exists_twice(dst: Dst, expected: list[str | None]) -> None:
    assert [note for _, note in notes(ScheduleType.DAILY, ["02:30"], AUTUMN, dst=dst)] == expected


def test_a_rhythm_has_no_gaps_and_shows_the_hour_twice() -> None:
    assert [note for _, note in notes(ScheduleType.CRON, "*/30 * * * *", datetime(2026, 3, 29, 0, 15, tzinfo=UTC))] == [
        None
    ] * 3
    found = notes(ScheduleType.CRON, "30 * * * *", datetime(2026, 10, 25, 0, 0, tzinfo=UTC))
    assert [note for _, note in found][:2] == [
        "02:30 exists twice on that day: this is the first one, and it fires at both",
        "02:30 exists twice on that day: this is the second one",
    ]


def test_intervals_know_no_walls() -> None:
    assert [note for _, note in notes(ScheduleType.INTERVAL, 3600, AUTUMN)] == [None] * 3
