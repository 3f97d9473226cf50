"""What must be so, in plain Python: each job as a dict would hold it, what it owes, and what became of it.

Nothing here asks the scheduler. Occurrences are multiples of an interval, or one instant; planning is done with lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

AHEAD = timedelta(milliseconds=50)
"""What is due within this may be claimed already."""

FIRED = "fired"
LONGEST = timedelta(days=2)


@dataclass(frozen=True)
class Spec:
    """A definition. `at`: once, then; else every `seconds`."""

    seconds: int = 60
    at: datetime | None = None
    name: str = "A"
    enabled: bool = True
    misfire: str = "latest"
    misfire_grace: float = 2.5
    catch_up_limit: int = 2
    overlap: str = "allow"
    delivery: str = "at_least_once"
    max_retries: int = 0
    disable_after: int | None = None
    calendar: str | None = None

    @property
    def schedule(self) -> object:
        return self.at or self.seconds


@dataclass
class Job:
    """One job that is there."""

    spec: Spec
    anchor: datetime
    cursor: datetime | None
    version: int
    paused: bool = False
    paused_until: datetime | None = None
    auto_disabled: bool = False
    finished: bool = False

    def occurrences(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Those in [since, until]."""
        if self.spec.at is not None:
            if since <= self.spec.at <= until:
                yield self.spec.at
            return
        step = timedelta(seconds=self.spec.seconds)
        number = max(1, -((self.anchor - since) // step))
        while (instant := self.anchor + number * step) <= until:
            if instant >= since:
                yield instant
            number += 1

    def first_after(self, instant: datetime) -> datetime | None:
        return next(self.occurrences(instant + timedelta(microseconds=1), instant + LONGEST), None)

    def first(self, now: datetime) -> datetime | None:
        """Where it begins: what was to happen once is still to happen."""
        return self.spec.at or self.first_after(now)

    def is_paused(self, now: datetime) -> bool:
        return self.paused and (self.paused_until is None or now < self.paused_until)

    def is_live(self, now: datetime) -> bool:
        """Whether its occurrences fire."""
        return self.spec.enabled and not self.auto_disabled and not self.is_paused(now)


@dataclass
class Model:
    """All of it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    fates: dict[str, dict[datetime, str]] = field(default_factory=dict)
    """Of each job that ever was: what became of each occurrence that is accounted for."""
    definitions: dict[str, dict[int, Spec]] = field(default_factory=dict)
    log: dict[str, list[str]] = field(default_factory=dict)
    """Of each job that ever was: the changes, in order."""
    calendars: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)

    # What happens.

    def added(self, job_id: str, spec: Spec, now: datetime) -> None:
        job = self.jobs[job_id] = Job(spec, now, None, 0)
        job.cursor = job.first(now) if spec.enabled else None
        self.fates.setdefault(job_id, {})
        self._changed(job_id, "added")

    def edited(self, job_id: str, spec: Spec, now: datetime, action: str | None = None) -> None:
        """Another definition; what the former owes up to now is accounted for by it."""
        job = self.jobs[job_id]
        old = job.spec
        self.account(job_id, now, _why_not(job, now) or (None if spec.enabled else "disabled"))
        same = old.schedule == spec.schedule
        if not (same and old.enabled):
            if (old.at is None) != (spec.at is None):
                job.anchor = now
            if not (same and job.finished):
                job.cursor = replace(job, spec=spec).first(now)
        if not same:
            job.finished = False
        job.spec = spec
        if not spec.enabled:
            job.cursor = None
        self._changed(job_id, action or _action(old, spec))

    def paused(self, job_id: str, until: datetime | None, now: datetime) -> None:
        self.account(job_id, now, "paused")
        job = self.jobs[job_id]
        is_told = not job.paused or job.paused_until != until
        job.paused, job.paused_until = True, until
        self._changed(job_id, "paused" if is_told else "renumbered")

    def resumed(self, job_id: str, now: datetime) -> None:
        job = self.jobs[job_id]
        if not job.paused and not job.auto_disabled:
            return
        action = "resumed" if job.paused else "enabled"
        self.account(job_id, now, _why_not(job, now))
        job.paused, job.paused_until, job.auto_disabled = False, None, False
        self._changed(job_id, action)

    def removed(self, job_id: str, now: datetime) -> None:
        self.account(job_id, now, "removed")
        self._log(job_id, "removed")
        del self.jobs[job_id]

    def disabled_itself(self, job_id: str) -> None:
        self.jobs[job_id].auto_disabled = True
        self._changed(job_id, "disabled")

    def renumbered(self, job_id: str) -> None:
        self._changed(job_id, "renumbered")

    def _changed(self, job_id: str, action: str) -> None:
        self._log(job_id, action)
        job = self.jobs[job_id]
        job.version = len(self.log[job_id])
        self.definitions.setdefault(job_id, {})[job.version] = job.spec

    def _log(self, job_id: str, action: str) -> None:
        self.log.setdefault(job_id, []).append(action)

    # What is owed.

    def looked(self, now: datetime) -> None:
        """A leader has looked what is due."""
        for job_id, job in self.jobs.items():
            if job.is_live(now):
                self.account(job_id, now, None, AHEAD if job.spec.delivery == "at_least_once" else timedelta())
                job.finished = job.finished or (job.cursor is None and job.spec.enabled)

    def account(self, job_id: str, now: datetime, reason: str | None, ahead: timedelta = timedelta()) -> None:
        """Say of each occurrence from the cursor on what becomes of it. `reason`: why none of them fires."""
        job, fates = self.jobs[job_id], self.fates[job_id]
        if job.cursor is None:
            return
        if job.paused and job.paused_until is not None and reason is None:
            self._pass(job, fates, job.paused_until - timedelta(microseconds=1), "paused")
        if job.cursor is None:
            return
        due = list(job.occurrences(job.cursor, now + ahead))
        if reason is not None:
            _settle(fates, dict.fromkeys(due, reason))
        else:
            while due and self.excludes(job.spec.calendar, due[-1]):
                due.pop()  # those may be looked at together later: `skipped_ahead`
            _settle(fates, self._plan(job, due, now))
        if due:
            job.cursor = job.first_after(due[-1])

    def skipped_ahead(self, job_id: str, cursor: datetime | None, until: datetime) -> None:
        """The scheduler has accounted for what a calendar excludes at once, which it may do later as well."""
        job, fates = self.jobs[job_id], self.fates[job_id]
        while job.cursor is not None and job.cursor != cursor and job.cursor <= until:
            if not self.excludes(job.spec.calendar, job.cursor):
                return
            fates.setdefault(job.cursor, "calendar")
            job.cursor = job.first_after(job.cursor)

    def _pass(self, job: Job, fates: dict[datetime, str], until: datetime, reason: str) -> None:
        assert job.cursor is not None
        passed = list(job.occurrences(job.cursor, until))
        _settle(fates, dict.fromkeys(passed, reason))
        if passed:
            job.cursor = job.first_after(passed[-1])

    def _plan(self, job: Job, due: list[datetime], now: datetime) -> dict[datetime, str]:
        spec = job.spec
        fates = dict.fromkeys((instant for instant in due if self.excludes(spec.calendar, instant)), "calendar")
        allowed = [instant for instant in due if instant not in fates]
        late = [instant for instant in allowed if instant < now - timedelta(seconds=spec.misfire_grace)]
        in_time = allowed[len(late) :]
        keeps = {"skip": 0, "all": spec.catch_up_limit, "latest": 0 if in_time else 1}[spec.misfire]
        dropped = late[: max(0, len(late) - keeps)]
        fates |= dict.fromkeys(dropped, "misfire")
        return fates | dict.fromkeys(allowed[len(dropped) :], FIRED)

    def excludes(self, calendar: str | None, instant: datetime) -> bool:
        if calendar is None:
            return False
        start, until = self.calendars[calendar]
        return start <= instant < until


def _why_not(job: Job, now: datetime) -> str | None:
    """Why nothing of the job fires."""
    if job.is_paused(now):
        return "paused"
    return "disabled" if job.auto_disabled else None


def _action(old: Spec, new: Spec) -> str:
    if replace(old, enabled=new.enabled) != new:
        return "changed"
    return "enabled" if new.enabled else "disabled"


def _settle(fates: dict[datetime, str], more: dict[datetime, str]) -> None:
    """What became of an occurrence stays: it has its row, and whoever comes by it again changes nothing."""
    for instant, fate in more.items():
        fates.setdefault(instant, fate)
