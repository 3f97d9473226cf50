"""Edits, many or few: an interval keeps its phase and fires, and what has run once does not run again for one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler_core import ScheduleJob
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.planning.plan import Plan, StoredJob, due_at, starts_at
from scheduler_core.domain.planning.planning import plan
from scheduler_core.engine.operations.jobs import redefinition
from scheduler_core.ports.runs import Settlement

BEGUN = datetime(2026, 3, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NEVER_IN_THE_WAY = Calendar("c")


def definition(value: Any = 24 * 3600, kind: str = "interval", **rest: Any) -> JobDefinition:
    return ScheduleJob("j", "J", kind, value, "app:work", **{"timezone": "UTC", **rest}).definition("UTC")


class Stored:
    """A job that a leader plans whenever it is due, and that somebody edits."""

    def __init__(self, begun: JobDefinition, at: datetime = BEGUN) -> None:
        schedule = begun.schedule(at)
        first = schedule.first(at)
        self.job = StoredJob(begun, 1, at, schedule, first, due_at(begun, schedule, first))
        self.fires: list[tuple[datetime, datetime]] = []
        self.counted = 0

    def until(self, now: datetime) -> None:
        """Plan at each due instant up to now."""
        while self.job.next_run is not None and self.job.due_at is not None and self.job.due_at <= now:
            self._take(plan(self._with_calendar(), self.job.due_at))
            if self.job.next_run is None:
                self.job = replace(self.job, finished_at=now)

    def edit(self, new: JobDefinition, now: datetime) -> Settlement:
        self.until(now)
        settled = redefinition(self._with_calendar(), new, now, {})
        self._take(settled.plan)
        anchor = settled.changes["anchor"]
        self.job = replace(
            self.job,
            definition=new,
            anchor=anchor,
            schedule=new.schedule(anchor),
            finished_at=settled.changes["finished_at"],
        )
        return settled

    def _with_calendar(self) -> StoredJob:
        return replace(self.job, calendars=(NEVER_IN_THE_WAY,) if self.job.definition.calendars else ())

    def _take(self, made: Plan) -> None:
        self.fires += [(fire.scheduled_for, fire.due_at) for fire in made.fires]
        self.counted += sum(missed.count for missed in made.missed)
        self.job = replace(self.job, next_run=made.next_run, due_at=made.next_due_at)


EDITS: dict[str, list[dict[str, Any]]] = {
    "end_at": [{"end_at": BEGUN + timedelta(days=900 + n)} for n in range(2)],
    "a calendar": [{"calendars": ["c"]}, {}],
    "jitter": [{"jitter": 10}, {"jitter": 20}],
    "a policy": [{"timeout": 5}, {"timeout": 6}],
    "all at once": [{"end_at": BEGUN + timedelta(days=900), "calendars": ["c"], "tags": ["x"]}, {}],
}


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("every", [timedelta(minutes=7), timedelta(hours=7), timedelta(hours=23), timedelta(hours=31)])
def test_an_interval_that_is_edited_all_the_time_fires_on_its_instants(
    edits: list[dict[str, Any]], every: timedelta
) -> None:
    """A job of every 24 hours that is edited more often than that: not once at the editor's hour, and never never."""
    stored, now, number = Stored(definition()), BEGUN, 0
    while now < BEGUN + 10 * DAY:
        now += every
        number += 1
        stored.edit(definition(**edits[number % len(edits)]), now)
    fired = [scheduled_for for scheduled_for, _ in stored.fires]
    assert fired == [BEGUN + k * DAY for k in range(1, len(fired) + 1)]
    assert len(fired) >= 10
    assert stored.counted == 0
    assert stored.job.anchor == BEGUN


def test_an_occurrence_that_waits_for_its_jitter_survives_an_edit() -> None:
    """Edited between its instant and its start it starts when it would have, with every edit."""
    stored, now = Stored(definition(60, jitter=50)), BEGUN
    for number in range(100):
        now += timedelta(seconds=17)
        stored.edit(definition(60, jitter=50, timeout=1 + number), now)
    fired = [scheduled_for for scheduled_for, _ in stored.fires]
    assert fired == [BEGUN + k * timedelta(minutes=1) for k in range(1, len(fired) + 1)]
    assert len(fired) == 28
    assert stored.counted == 0
    schedule = stored.job.schedule
    assert [start for _, start in stored.fires] == [starts_at(stored.job.definition, schedule, at) for at in fired]


@pytest.mark.parametrize(
    ("new", "next_fire"),
    [
        (definition(12 * 3600), BEGUN + 12 * HOUR),
        (definition(5 * 3600), BEGUN + 10 * HOUR),
        (definition(48 * 3600), BEGUN + 48 * HOUR),
        (definition(end_at=BEGUN + 30 * DAY), BEGUN + 24 * HOUR),
        (definition(start_at=BEGUN + 7.5 * HOUR), BEGUN + 31.5 * HOUR),
        (definition(start_at=BEGUN + 20 * HOUR), BEGUN + 20 * HOUR),
        (definition("09:00", "daily"), BEGUN + 23 * HOUR),
        (definition("2026-03-04T00:00", "once"), BEGUN + 62 * HOUR),
    ],
)
def test_where_an_edited_interval_goes_on(new: JobDefinition, next_fire: datetime) -> None:
    """Edited eight hours after it began, and two hours before that."""
    stored = Stored(definition())
    stored.edit(definition(timeout=3), BEGUN + 6 * HOUR)
    settled = stored.edit(new, BEGUN + 8 * HOUR)
    assert settled.plan.next_run == next_fire
    assert settled.plan.next_due_at == next_fire


def test_without_its_start_at_an_interval_counts_from_when_it_was_first_stored() -> None:
    stored = Stored(definition(start_at=BEGUN + 3 * HOUR))
    settled = stored.edit(definition(), BEGUN + 8 * HOUR)
    assert settled.plan.next_run == BEGUN + 24 * HOUR


def test_a_job_that_becomes_an_interval_counts_from_then() -> None:
    stored = Stored(definition("09:00", "daily"))
    settled = stored.edit(definition(3600), BEGUN + timedelta(minutes=20))
    assert settled.plan.next_run == BEGUN + timedelta(minutes=80)


@pytest.mark.parametrize("value", [None, "2026-03-01T10:00:00"])
@pytest.mark.parametrize(
    "edit",
    [{"end_at": BEGUN + DAY}, {"calendars": ["c"]}, {"timeout": 3}, {"timezone": "Asia/Seoul"}, {"start_at": BEGUN}],
)
def test_a_once_that_has_run_does_not_run_again_for_an_edit(value: str | None, edit: dict[str, Any]) -> None:
    """Neither where its own instant stays, nor because its anchor would have moved."""
    stored = Stored(definition(value, "once"))
    stored.until(BEGUN + HOUR)
    assert [at for at, _ in stored.fires] == [BEGUN]
    edited = definition("2026-03-01T10:00:00+00:00" if value else None, "once", **edit)
    stored.edit(edited, BEGUN + 2 * HOUR)
    stored.until(BEGUN + 30 * DAY)
    assert [at for at, _ in stored.fires] == [BEGUN]
    assert stored.job.next_run is None
    assert stored.job.finished_at is not None


def test_a_once_with_another_instant_runs_again() -> None:
    stored = Stored(definition(None, "once"))
    stored.until(BEGUN + HOUR)
    stored.edit(definition("2026-03-05T00:00", "once"), BEGUN + 2 * HOUR)
    stored.until(BEGUN + 30 * DAY)
    stored.edit(definition(None, "once"), BEGUN + 31 * DAY)
    stored.until(BEGUN + 32 * DAY)
    assert [at for at, _ in stored.fires] == [BEGUN, datetime(2026, 3, 5, tzinfo=UTC), BEGUN + 31 * DAY]


def test_a_once_that_its_bounds_kept_from_running_runs_once_they_let_it() -> None:
    stored = Stored(definition(None, "once", end_at=BEGUN - HOUR))
    stored.until(BEGUN + HOUR)
    assert stored.fires == []
    stored.edit(definition(None, "once", end_at=BEGUN + DAY), BEGUN + 2 * HOUR)
    stored.until(BEGUN + 3 * HOUR)
    assert [at for at, _ in stored.fires] == [BEGUN]
