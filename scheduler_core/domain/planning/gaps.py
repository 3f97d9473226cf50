"""Gaps: occurrences that a job owed by its definitions as they stood, and that the record does not account for.

This is a check, and shares no answer with what it checks. It knows the log of changes, the rows of runs, and what
each schedule says; of the scheduler it takes one thing, the cursor, and only as the claim "up to here everything is
accounted for". Pauses, disablings, calendars and jitter need no rule here: what they keep from executing is owed a row
or a count like everything else (`missed / paused`, `skipped / calendar`).

Rows are taken from the latest back to the earliest. A row that counts stands at the last of what it stands for; so
whatever lies above a row is accounted for by rows that were taken before, or by none. That needs no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.planning.segments import TICK
from scheduler_core.domain.schedule import Schedule, parse_instant

FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a job's log: what it was from then on; `document` is None where it was removed."""

    version: int
    effective_at: datetime
    document: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Era:
    """A time, `since` excluded and `until` included, in which a job owed the occurrences of one schedule."""

    version: int
    schedule: Schedule
    since: datetime
    until: datetime = FOREVER


@dataclass(frozen=True, slots=True)
class Gap:
    """`count` consecutive occurrences, `first` to `last`, that no row accounts for.

    `kind` is `unaccounted`; or `miscounted`, where a row says that it counts fewer than lie between its ends.
    """

    kind: str
    job_id: str
    first: datetime
    last: datetime
    count: int
    version: int


@dataclass(slots=True)
class JobHistory:
    """The eras of a job, from its log, entry by entry in order."""

    eras: list[Era] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    """Versions whose definition can't be read: nobody can tell what was owed."""

    def add(self, change: Change) -> None:
        """Take in the next entry."""
        schedule = self._schedule(change)
        current = self.eras[-1] if self.eras and self.eras[-1].until == FOREVER else None
        if current is not None:
            if current.schedule == schedule:
                return
            self.eras[-1] = Era(current.version, current.schedule, current.since, change.effective_at)
        if schedule is None:
            return
        since, first = change.effective_at, schedule.first(change.effective_at)
        if first is not None and first <= since:
            # A ONCE whose instant was past already is owed all the same.
            since = first - TICK
        self.eras.append(Era(change.version, schedule, since))

    def _schedule(self, change: Change) -> Schedule | None:
        if change.document is None or change.document.get("enabled") is False:
            return None
        try:
            definition = JobDefinition.from_columns(change.document)
            return definition.schedule(parse_instant(change.document["anchor"], "UTC"))
        except (InvalidJobError, TypeError, ValueError, KeyError, OverflowError):
            self.unreadable.append(change.version)
            return None


class GapFinder:
    """Finds the gaps of one job in a window.

    Parameters: start and end of the window, both inclusive. Rows go in by `cover`, from the latest to the earliest;
    every row that reaches into the window is needed, also one that stands behind its end. `close` comes last.
    """

    def __init__(self, job_id: str, eras: Iterable[Era], start: datetime, end: datetime) -> None:
        self.gaps: list[Gap] = []
        """Those found since somebody looked last, the latest first."""
        self._job_id = job_id
        self._below = start - TICK
        # Everything from here on is accounted for, or was found not to be.
        self._done = end + TICK
        self._eras = sorted(
            (era for era in eras if era.since < end and era.until > self._below),
            key=lambda era: era.since,
            reverse=True,
        )
        self._at = 0

    @property
    def expected(self) -> int:
        """How many occurrences the window owes. To be asked before the first row."""
        return sum(count for _, _, count in self._owed(self._below, self._done))

    def cover(self, first: datetime, last: datetime, counted: int | None = None) -> None:
        """Take in the next row: it accounts for `first` to `last`, and says that those are `counted`."""
        if last < self._done:
            self._emit(last, self._done)
            self._done = first
        elif first < self._done:
            self._done = first
        if counted is not None and counted > 0:
            self._check_count(first, last, counted)

    def close(self) -> None:
        """There are no more rows."""
        if self._below < self._done:
            self._emit(self._below, self._done)
            self._done = self._below

    def _emit(self, above: datetime, below: datetime) -> None:
        """Find what is owed between the two, both excluded."""
        found: set[tuple[datetime, datetime]] = set()
        for era, (after, until), count in self._owed(max(above, self._below), below):
            first, last = era.schedule.next_after(after), era.schedule.last_until(until)
            assert first is not None
            assert last is not None
            # A ONCE that was added again is owed once.
            if (first, last) not in found:
                found.add((first, last))
                self.gaps.append(Gap("unaccounted", self._job_id, first, last, count, era.version))

    def _owed(self, above: datetime, below: datetime) -> Iterable[tuple[Era, tuple[datetime, datetime], int]]:
        eras = self._eras
        # `below` only ever falls: an era that begins behind it is done with.
        while self._at < len(eras) and eras[self._at].since >= below:
            self._at += 1
        for index in range(self._at, len(eras)):
            era = eras[index]
            if era.until <= above:
                # Those that began before ended before, or are a ONCE whose instant lies before.
                return
            after, until = max(above, era.since), min(below - TICK, era.until)
            count = era.schedule.count(after, until) if until > after else 0
            if count:
                yield era, (after, until), count

    def _check_count(self, first: datetime, last: datetime, counted: int) -> None:
        for era in self._eras:
            if era.since < first and last <= era.until:
                owed = era.schedule.count(first - TICK, last)
                if owed > counted:
                    self.gaps.append(Gap("miscounted", self._job_id, first, last, owed - counted, era.version))
                return
