"""Why a job did or did not run: sentences from facts. Pure; storage finds the facts, the faces show the sentences."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduler_core.domain.clock import WHAT_TO_DO, Hold, describe_hold
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.planning.next_fires import look_ahead
from scheduler_core.domain.planning.plan import StoredJob
from scheduler_core.domain.planning.upcoming import Upcoming, upcoming
from scheduler_core.domain.runs.run import UNFINISHED
from scheduler_core.domain.runs.words import RunFacts, at, describe_run
from scheduler_core.domain.schedule.plain_words import plain_words
from scheduler_core.domain.wording import in_words

OVERDUE = timedelta(seconds=2)
"""Longer than this a due occurrence waits for no leader that lives."""

NEXT_SHOWN = 10

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class LockFacts:
    """The job's distributed lock, as far as Redis tells."""

    key: str
    is_known: bool
    """False: the lock service can't be asked."""
    is_held: bool = False
    run_id: str | None = None
    """The run that holds it; None: somebody who is no run of this scheduler."""
    expires_in_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that an explanation rests on, at one moment of the database's clock.

    `job` is None for one that does not exist, or whose row can't be read (then `problem` says why). `runs` are the
    last ones, the latest first, and all that have not ended.
    """

    job_id: str
    now: datetime
    job: StoredJob | None
    problem: str | None = None
    paused_by: str | None = None
    pause_note: str | None = None
    consecutive_failures: int = 0
    last_error: str | None = None
    leader: str | None = None
    leader_since: datetime | None = None
    term: int = 0
    replicas: int = 0
    callers: int = 0
    """Replicas that live and have said that they can call the job's callback."""
    runs: tuple[RunFacts, ...] = ()
    lock: LockFacts | None = None
    clock: Hold | None = None
    """Why nothing is planned at all."""
    is_zone_unknown_to_leader: bool = False
    zone_knowers: int = 0
    """Replicas that live and have said that they know the job's time zone."""
    unknown_zone: str | None = None
    """The job's time zone, where this process can't read the row for it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer: whether the job exists and will fire, the reasons in sentences, its last runs, the next instants.

    `runs` are pairs of a run and its sentence; those that wait or execute come first.
    """

    job_id: str
    is_known: bool
    will_fire: bool
    schedule: str | None
    timezone: str | None
    sentences: tuple[str, ...]
    runs: tuple[tuple[RunFacts, str], ...]
    upcoming: tuple[Upcoming, ...]

    def as_document(self) -> dict[str, Any]:
        """As the command line and the API show it to programs."""
        return {
            "job_id": self.job_id,
            "known": self.is_known,
            "will_fire": self.will_fire,
            "schedule": self.schedule,
            "timezone": self.timezone,
            "sentences": self.sentences,
            "runs": [{**asdict(run), "sentence": sentence} for run, sentence in self.runs],
            "next": [one.as_row() for one in self.upcoming],
        }


def explain(facts: Facts) -> Explanation:
    """Why the job did or did not run, and what will come."""
    job = facts.job
    definition = job.definition if job is not None else None
    zone = definition.timezone if definition is not None else "UTC"
    ordered = sorted(facts.runs, key=lambda run: run.status not in UNFINISHED)
    runs = tuple((run, describe_run(run, definition, zone)) for run in ordered)
    if job is None:
        return Explanation(facts.job_id, facts.problem is not None, False, None, None, _absent(facts), runs, ())
    obstacle = _obstacle(facts, job)
    sentences = [*_clock(facts), obstacle or _waits_for(facts, job), *_services(facts, job.definition)]
    if facts.consecutive_failures and job.auto_disabled_at is None:
        sentences.append(_failing(facts, job.definition))
    if facts.lock is not None:
        sentences.append(_lock(facts.lock, facts))
    come = _upcoming(facts, job)
    return Explanation(
        facts.job_id,
        is_known=True,
        will_fire=bool(come),
        schedule=plain_words(job.definition.schedule_type, job.definition.schedule_value, zone),
        timezone=zone,
        sentences=tuple(sentences),
        runs=runs,
        upcoming=tuple(come),
    )


def _absent(facts: Facts) -> tuple[str, ...]:
    if facts.unknown_zone is not None:
        return (
            f"The row of job {facts.job_id!r} can't be read here: the zone data of this process lack its time zone "
            f"{facts.unknown_zone!r}. {_zone_knowers(facts)}",
        )
    if facts.problem is not None:
        return (
            f"The row of job {facts.job_id!r} can't be read, and the leader leaves it alone: {facts.problem}. Correct "
            "it in SQL, or add the job again.",
        )
    if facts.runs:
        return (
            f"There is no job {facts.job_id!r} any more: it was removed, and its history stays. Add it again, in code "
            "or with `scheduler jobs add`.",
        )
    return (f"There is no job {facts.job_id!r}, and none of its runs: `scheduler jobs list` shows those that exist.",)


def _obstacle(facts: Facts, job: StoredJob) -> str | None:
    """What keeps the job from firing at all, in the order in which the scheduler looks."""
    zone = job.definition.timezone
    if not job.definition.enabled:
        return "It does not fire: its definition has enabled=False."
    if job.auto_disabled_at is not None:
        error = f" The last error was: {facts.last_error}." if facts.last_error else ""
        return (
            f"It does not fire: it was disabled at {at(job.auto_disabled_at, zone)}, after "
            f"{facts.consecutive_failures} failures in a row (disable_after is {job.definition.disable_after})."
            f"{error} `scheduler jobs resume {facts.job_id}` lets it fire again."
        )
    if job.is_paused(facts.now):
        return _paused(facts, job)
    if job.next_run is None:
        return _finished(facts, job)
    if facts.is_zone_unknown_to_leader:
        return f"It does not fire: the leader's zone data lack its time zone {zone!r}. {_zone_knowers(facts)}"
    if job.missing_calendars:
        return (
            f"It does not fire: there is no calendar {job.missing_calendars[0]!r}, so nobody can tell which days it "
            f"leaves out. `scheduler calendars add {job.missing_calendars[0]}` creates it."
        )
    return None


def _zone_knowers(facts: Facts) -> str:
    if facts.zone_knowers:
        return f"{facts.zone_knowers} of {_replicas(facts.replicas)} know it, and one of them takes over if it may."
    return "No replica that lives knows it: renew the package tzdata of one, or correct the zone."


def _clock(facts: Facts) -> list[str]:
    if facts.clock is None:
        return []
    return [f"Nothing is planned: {describe_hold(facts.clock)}; {WHAT_TO_DO}."]


def _paused(facts: Facts, job: StoredJob) -> str:
    zone = job.definition.timezone
    assert job.paused_at is not None
    by = f" by {facts.paused_by}" if facts.paused_by else ""
    if job.paused_until is None:
        until = f" until somebody resumes it (`scheduler jobs resume {facts.job_id}`)"
    else:
        until = f" until {at(job.paused_until, zone)}"
    note = f" The note says: {facts.pause_note}." if facts.pause_note else ""
    return f"It does not fire: it is paused{by} since {at(job.paused_at, zone)},{until}.{note}"


def _finished(facts: Facts, job: StoredJob) -> str:
    zone, end_at = job.definition.timezone, job.definition.end_at
    if end_at is not None and end_at <= facts.now:
        return f"It does not fire any more: its end_at, {at(end_at, zone)}, has passed."
    when = f" since {at(job.finished_at, zone)}" if job.finished_at is not None else ""
    return f"It does not fire any more: its schedule has no further occurrence{when}."


def _waits_for(facts: Facts, job: StoredJob) -> str:
    zone = job.definition.timezone
    assert job.next_run is not None
    due_at = job.due_at or job.next_run
    if due_at <= facts.now - OVERDUE:
        if facts.leader is None:
            why = "nobody leads"
        else:
            why = "the leader has not claimed it: it may have just begun to lead, or Postgres is slow for it"
        waited = in_words((facts.now - due_at).total_seconds())
        return f"The occurrence of {at(job.next_run, zone)} is due for {waited}: {why}."
    if due_at <= facts.now:
        return f"The occurrence of {at(job.next_run, zone)} is due now."
    excluded = job.exclusions.excludes(job.next_run)
    if excluded:
        return f"Its next occurrence, {at(job.next_run, zone)}, is one that its calendars leave out."
    jitter = f", by its jitter at {at(due_at, zone)}" if due_at != job.next_run else ""
    return f"It fires next at {at(job.next_run, zone)}{jitter}, in {in_words((due_at - facts.now).total_seconds())}."


def _services(facts: Facts, definition: JobDefinition) -> list[str]:
    if facts.leader is not None:
        since = f" since {at(facts.leader_since, definition.timezone)}" if facts.leader_since is not None else ""
        told = [f"{facts.leader} leads{since}, in term {facts.term}."]
    elif facts.replicas:
        told = [f"Nobody leads, and of {_replicas(facts.replicas)} that live none may, or one is about to."]
    else:
        told = ["Nobody leads, and no replica lives: start one with `scheduler run --app MODULE`."]
    if facts.replicas and not facts.callers:
        told.append(
            f"No replica that lives can call {definition.callback} for this job: its runs wait until one that can is "
            "started."
        )
    elif facts.callers < facts.replicas:
        told.append(f"{facts.callers} of {_replicas(facts.replicas)} can call {definition.callback}.")
    return told


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _failing(facts: Facts, definition: JobDefinition) -> str:
    count = facts.consecutive_failures
    told = "The last run failed" if count == 1 else f"The last {count} runs failed"
    if facts.last_error:
        told += f", the latest with {facts.last_error}"
    if definition.disable_after is not None:
        told += f"; after {definition.disable_after} in a row the job is disabled"
    return f"{told}."


def _lock(lock: LockFacts, facts: Facts) -> str:
    if not lock.is_known:
        return f"Nobody can tell who holds its lock {lock.key!r}: the lock service can't be asked."
    if not lock.is_held:
        return f"Its lock {lock.key!r} is free."
    holder = "somebody who is no run of this scheduler"
    if lock.run_id is not None:
        run = next((run for run in facts.runs if str(run.run_id) == lock.run_id), None)
        holder = f"the run {lock.run_id}" + (f" on {run.instance_id}" if run is not None and run.instance_id else "")
    expires = f", for {lock.expires_in_seconds:.0f} s more unless it is renewed" if lock.expires_in_seconds else ""
    return f"Its lock {lock.key!r} is held by {holder}{expires}."


def _upcoming(facts: Facts, job: StoredJob) -> list[Upcoming]:
    if not job.definition.enabled or job.auto_disabled_at is not None or job.next_run is None or job.missing_calendars:
        return []
    first: datetime | None = job.next_run
    if job.is_paused(facts.now):
        if job.paused_until is None:
            return []
        first = max(job.next_run, job.paused_until)
        first = first if first == job.next_run else job.schedule.next_after(first - _TICK)
    until = look_ahead(facts.now, job.exclusions)
    return upcoming(job.schedule, job.exclusions, first, until, NEXT_SHOWN, job.definition.timezone)
