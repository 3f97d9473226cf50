"""Planning with calendars: what they exclude is skipped and accounted for, and policies see only the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_core import Calendar, RunStatus, ScheduleJob
from scheduler_core.domain.planning import planning
from scheduler_core.domain.planning.planning import (
    Missed,
    Plan,
    StoredJob,
    due_at,
    occurrences,
    plan,
    settlement,
)
from scheduler_core.domain.schedule import Schedule

FRIDAY = datetime(2026, 3, 6, 12, 0, tzinfo=UTC)
BUSINESS = Calendar.business_days("c", ["2026-03-10"])
NOTHING = Calendar("c")


def stored(
    value: Any = 3600, *calendars: Calendar, kind: str = "interval", start: datetime = FRIDAY, **policies: Any
) -> StoredJob:
    job = ScheduleJob("j", "J", kind, value, "app:f", timezone="UTC", calendars=["c"], **policies)
    definition = job.definition("UTC")
    schedule = definition.schedule(start)
    first = schedule.first(start)
    return StoredJob(definition, 1, start, schedule, first, due_at(definition, schedule, first), calendars=calendars)


def hours(number: float) -> datetime:
    return FRIDAY + timedelta(hours=number)


def rows(made: Plan) -> list[tuple[int, datetime, datetime, str, RunStatus]]:
    return [(m.count, m.first, m.last, m.reason, m.status) for m in made.missed]


def test_an_excluded_occurrence_is_skipped_in_a_row_of_its_own() -> None:
    made = plan(replace(stored(3600, BUSINESS), next_run=hours(12)), hours(12))
    assert made.fires == ()
    assert rows(made) == [(1, hours(12), hours(12), "calendar", RunStatus.SKIPPED)]
    assert made.missed[0].stands_for_one
    assert made.next_run == hours(13)
    assert made.next_due_at == hours(13), "the next one is an hour away and has a row of its own"


def test_nothing_is_skipped_before_its_instant() -> None:
    made = plan(replace(stored(3600, BUSINESS), next_run=hours(12)), hours(11.9))
    assert (made.fires, made.missed, made.next_run) == ((), (), hours(12))


def test_excluded_ticks_of_a_minute_are_looked_at_once() -> None:
    job = stored(1, BUSINESS, start=FRIDAY.replace(hour=23, minute=59, second=50))
    made = plan(job, datetime(2026, 3, 7, tzinfo=UTC))
    assert len(made.fires) == 9
    assert rows(made)[0][0] == 1
    assert made.next_due_at == datetime(2026, 3, 7, 0, 1, tzinfo=UTC)
    later = plan(replace(job, next_run=made.next_run), made.next_due_at)
    assert [m.count for m in later.missed] == [60]


def test_a_tick_that_may_fire_is_never_looked_at_late() -> None:
    last_excluded = datetime(2026, 3, 8, 23, 59, 40, tzinfo=UTC)
    job = replace(stored(1, BUSINESS), next_run=last_excluded)
    made = plan(job, last_excluded - timedelta(seconds=1))
    assert made.next_due_at == datetime(2026, 3, 8, 23, 59, 59, tzinfo=UTC)
    made = plan(job, made.next_due_at)
    assert made.next_due_at == made.next_run == datetime(2026, 3, 9, tzinfo=UTC)


def test_latest_is_the_latest_that_the_calendars_allow() -> None:
    sunday = hours(48 + 6.5)
    made = plan(stored(3600, BUSINESS), sunday)
    assert [fire.scheduled_for for fire in made.fires] == [hours(11)], "Friday 23:00"
    assert rows(made) == [
        (10, hours(1), hours(10), "misfire", RunStatus.MISSED),
        (43, hours(12), hours(54), "calendar", RunStatus.SKIPPED),
    ]


def test_latest_drops_misfires_only_for_an_occurrence_that_may_fire() -> None:
    """The one within the grace is excluded: it is no reason to drop Friday's."""
    made = plan(stored(3600, BUSINESS), hours(12) + timedelta(seconds=5))
    assert [fire.scheduled_for for fire in made.fires] == [hours(11)]
    made = plan(stored(3600, BUSINESS), hours(11) + timedelta(seconds=5))
    assert [fire.scheduled_for for fire in made.fires] == [hours(11)]
    assert rows(made) == [(10, hours(1), hours(10), "misfire", RunStatus.MISSED)]


def test_all_catches_up_on_what_is_allowed_up_to_its_limit() -> None:
    monday = hours(72)
    made = plan(stored(3600, BUSINESS, misfire="all", catch_up_limit=15), monday)
    assert [fire.scheduled_for for fire in made.fires] == [hours(n) for n in (*range(9, 12), *range(60, 73))]
    assert rows(made) == [
        (8, hours(1), hours(8), "misfire", RunStatus.MISSED),
        (48, hours(12), hours(59), "calendar", RunStatus.SKIPPED),
    ]


def test_a_once_on_a_holiday_is_skipped_and_over() -> None:
    made = plan(stored("2026-03-10T09:00", BUSINESS, kind="once"), datetime(2026, 3, 10, 9, tzinfo=UTC))
    assert [m.reason for m in made.missed] == ["calendar"]
    assert made.next_run is None


def test_a_pause_counts_what_it_held_back_whatever_the_calendars_say() -> None:
    made = plan(replace(stored(3600, BUSINESS), paused_at=FRIDAY), hours(48))
    assert [(m.count, m.reason) for m in made.missed] == [(47, "paused")]


def test_a_job_without_its_calendar_waits_and_loses_nothing() -> None:
    job = stored(3600)
    assert job.missing_calendars == ("c",)
    made = plan(job, hours(5))
    assert (made.fires, made.missed, made.next_run) == ((), (), job.next_run)
    assert made.next_due_at == hours(5) + planning.LOOK_FOR_CALENDAR
    put_right = plan(replace(job, calendars=(NOTHING,)), hours(5))
    assert [fire.scheduled_for for fire in put_right.fires] == [hours(5)]
    assert [(m.count, m.reason) for m in put_right.missed] == [(4, "misfire")]


def test_an_edit_of_a_job_without_its_calendar_accounts_for_what_nobody_could_decide() -> None:
    made = settlement(stored(3600), hours(5), None)
    assert made.fires == ()
    assert rows(made) == [(5, hours(1), hours(5), "no_calendar", RunStatus.SKIPPED)]
    assert made.next_run == hours(6)


def test_an_edit_after_a_long_outage_keeps_the_latest() -> None:
    """More rows than one plan makes: an edit plans on."""
    made = settlement(stored(3600, BUSINESS), FRIDAY + timedelta(days=800), None)
    assert len(made.missed) > planning.MAX_COUNTS_PER_PLAN
    assert len(made.fires) == 1
    assert made.next_run == FRIDAY + timedelta(days=800, hours=1)
    assert sum(m.count for m in made.missed) + 1 == 800 * 24


@dataclass(frozen=True, slots=True)
class Counted(Schedule):
    """A schedule that notes how often it is asked."""

    inner: Schedule
    calls: dict[str, int]

    def _next(self, after: int) -> int | None:
        self.calls["next"] += 1
        return self.inner._next(after)

    def _last(self, until: int) -> int | None:
        self.calls["last"] += 1
        return self.inner._last(until)

    def _count(self, after: int, until: int) -> int:
        self.calls["count"] += 1
        return self.inner._count(after, until)


def test_a_year_of_missed_seconds_over_business_days_is_counted_and_not_walked() -> None:
    """kubernetes #42649. 31,536,000 ticks: some hundred questions per plan, two plans, no list of them."""
    job = stored(1, Calendar.business_days("c", [date(2026, 12, 25)]))
    calls = {"next": 0, "last": 0, "count": 0}
    job = replace(job, schedule=Counted(job.schedule.start, job.schedule.end, job.schedule, calls))
    now = FRIDAY + timedelta(days=365)
    fires, missed, plans = walk_plans(job, now)
    assert sum(m.count for m in missed) + len(fires) == 365 * 86_400
    assert fires == [datetime(2027, 3, 5, 23, 59, 59, tzinfo=UTC)], "planned on a Saturday: Friday's last second"
    assert {m.reason for m in missed} == {"misfire", "calendar"}
    assert plans == 3
    assert calls["count"] < 1_000
    assert calls["next"] < 1_000


def walk_plans(job: StoredJob, now: datetime) -> tuple[list[datetime], list[Missed], int]:
    """Plan until nothing moves; returns what fired, what was counted, and how many plans that took."""
    fires: list[datetime] = []
    missed: list[Missed] = []
    for number in range(1, 10_000):
        made = plan(job, now)
        assert len(made.missed) <= planning.MAX_COUNTS_PER_PLAN + 1
        fires += [fire.scheduled_for for fire in made.fires]
        missed += made.missed
        if made.next_run == job.next_run:
            return fires, missed, number
        job = replace(job, next_run=made.next_run)
    raise AssertionError("planning does not end")


@settings(max_examples=300, deadline=None)
@given(
    interval=st.sampled_from([900, 3600, 40_000, 90_000]),
    late=st.floats(0, 40 * 86_400),
    grace=st.sampled_from([0, 10, 7200, 100_000]),
    misfire=st.sampled_from(["latest", "all", "skip"]),
    limit=st.integers(1, 60),
    weekdays=st.lists(st.sampled_from(["mon", "tue", "sat", "sun"]), max_size=3),
    days=st.lists(st.dates(date(2026, 3, 6), date(2026, 4, 20)), max_size=10),
    counts=st.sampled_from([1, 2, 100]),
)
def test_every_occurrence_is_accounted_for_once_and_none_fires_that_is_excluded(
    interval: int,
    late: float,
    grace: float,
    misfire: str,
    limit: int,
    weekdays: list[str],
    days: list[date],
    counts: int,
) -> None:
    """I4, whatever the calendars; and what fires is what a plain walk over the allowed occurrences would fire."""
    calendar = Calendar("c", days, weekdays)
    job = stored(interval, calendar, misfire=misfire, misfire_grace=grace, catch_up_limit=limit)
    now = FRIDAY + timedelta(seconds=late)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "MAX_COUNTS_PER_PLAN", counts)
        fires, missed, _ = walk_plans(job, now)

    due = list(occurrences(job.schedule, FRIDAY, now))
    allowed = [instant for instant in due if calendar.allows(instant, "UTC")]
    starts = now - timedelta(seconds=grace)
    overdue, punctual = [i for i in allowed if i < starts], [i for i in allowed if i >= starts]
    kept = {"skip": [], "all": overdue[-limit:], "latest": overdue[-1:] if not punctual else []}[misfire]
    assert fires == [*kept, *punctual]

    counted = [instant for m in missed for instant in due if m.first <= instant <= m.last]
    assert len(counted) == sum(m.count for m in missed), "each row stands for all between its first and its last"
    assert sorted([*counted, *fires]) == due
    for m in missed:
        inside = [calendar.allows(instant, "UTC") for instant in due if m.first <= instant <= m.last]
        assert set(inside) == {m.reason != "calendar"}


MUTANTS = {
    "the policy counts what is excluded as well": ("if not s.excluded)", "if True)"),
    "whatever is newer is a reason to drop": (
        "any(not segment.excluded for segment in within)",
        "any(True for segment in within)",
    ),
    "excluded occurrences fire": ("cursor <= horizon and exclusions.excludes(cursor)", "False"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_tests_above_find_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The property can fail: it does, for each of these."""
    before, after = MUTANTS[mutant]
    source = Path(planning.__file__).read_text(encoding="utf-8")
    assert source.count(before) == 1
    mutated: dict[str, Any] = {"__name__": planning.__name__}
    exec(compile(source.replace(before, after), planning.__file__, "exec"), mutated)
    monkeypatch.setitem(globals(), "plan", mutated["plan"])
    with pytest.raises(AssertionError):
        check_the_policies()


def check_the_policies() -> None:
    test_latest_is_the_latest_that_the_calendars_allow()
    test_latest_drops_misfires_only_for_an_occurrence_that_may_fire()
    test_all_catches_up_on_what_is_allowed_up_to_its_limit()
