"""What happened to a run, in a sentence. Pure: a function of what its row and its neighbours say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.jobs.limit import Limit
from scheduler_core.domain.runs.run import Origin, RunStatus
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.domain.wording import in_words


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run's row, and what only others know: which run it overlapped, whether its owner lives."""

    run_id: UUID
    scheduled_for: datetime
    origin: Origin
    status: RunStatus
    reason: str | None = None
    attempt: int = 0
    """Attempts that have ended."""
    deliveries: int = 0
    next_attempt_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    instance_id: str | None = None
    error: str | None = None
    missed_count: int | None = None
    missed_from: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancel_requested_by: str | None = None
    offered: str | None = None
    """The executor that may take it, while it has no owner."""
    owner_lives: bool | None = None
    """None: it has no owner."""
    overlapped_run_id: UUID | None = None
    overlapped_scheduled_for: datetime | None = None


NO_TIMEZONE = "no_timezone"
UNREADABLE = "unreadable"
"""Why a pending run waits: for a replica that knows its job's time zone; for somebody to put the job's row right."""

_ORIGINS = {
    Origin.SCHEDULE: "The occurrence of {at}",
    Origin.TRIGGER: "The run triggered at {at}",
    Origin.BACKFILL: "The backfilled occurrence of {at}",
    Origin.RERUN: "The rerun of {at}",
}

_SKIPPED = {
    "queue_full": "too many runs of the job waited already",
    "paused": "the job was paused at that instant",
    "removed": "the job was removed before the run began",
    "calendar": "one of the job's calendars excludes it",
    "no_calendar": "a calendar that the job names did not exist, and nobody could tell whether it excludes it",
}

_MISSED = {
    "downtime": "nobody led at that time",
    "paused": "the job was paused",
    "disabled": "the job was disabled",
    "removed": "the job was removed",
}


def at(instant: datetime, timezone: str) -> str:
    """An instant as sentences tell it: on the job's wall clock, with the offset from UTC."""
    local = instant.astimezone(find_zone(timezone).info)
    return local.isoformat(sep=" ", timespec="milliseconds" if local.microsecond else "seconds")


def describe_run(run: RunFacts, definition: JobDefinition | None, timezone: str) -> str:
    """One sentence: what became of a run, or what it waits for.

    Parameters: definition, the job's of today, None for a removed job; timezone, IANA name, in which instants are
    told.
    """
    if run.status is RunStatus.MISSED:
        return _missed(run, definition, timezone)
    if run.status is RunStatus.SKIPPED and run.missed_count is not None and run.missed_count > 1:
        why = _why(run, _SKIPPED).replace("excludes it", "excludes them")
        return f"{_counted(run, timezone)} were skipped: {why}."
    subject = _ORIGINS[run.origin].format(at=at(run.scheduled_for, timezone))
    sentence = f"{subject} {_verb(run, definition, timezone)}"
    if run.missed_count is not None and run.missed_from is not None:
        sentence += f"; its row also counts {run.missed_count:,} occurrences since {at(run.missed_from, timezone)}"
    return sentence + "."


def _verb(run: RunFacts, definition: JobDefinition | None, timezone: str) -> str:
    match run.status:
        case RunStatus.SUCCEEDED:
            return _succeeded(run)
        case RunStatus.FAILED:
            return _failed(run)
        case RunStatus.SKIPPED:
            return _skipped(run, definition, timezone)
        case RunStatus.LOST:
            why = "it is not known how it ended" if run.reason == "end_unknown" else "its owner died while it executed"
            return f"was lost: {why}, and a job with delivery at_most_once is not executed again"
        case RunStatus.CANCELLED:
            return _cancelled(run, timezone)
        case RunStatus.RUNNING:
            return _running(run, timezone)
        case RunStatus.RETRYING:
            return _retrying(run, definition, timezone)
        case RunStatus.QUEUED if run.reason == "limit":
            limit = definition and definition.limit
            return f"waits for a place{_told_limit(limit) if limit else ''}"
        case RunStatus.QUEUED:
            return "waits until the job's run before it has ended"
        case _:
            return _pending(run, definition, timezone)


def _succeeded(run: RunFacts) -> str:
    told = "succeeded"
    if run.attempt > 1:
        told += f" at attempt {run.attempt}"
    if run.started_at is not None and run.finished_at is not None:
        told += f", in {in_words((run.finished_at - run.started_at).total_seconds())}"
    if run.started_at is not None and run.origin is not Origin.BACKFILL:
        late = run.started_at - run.scheduled_for
        if late >= timedelta(seconds=1):
            told += f", having begun {in_words(late.total_seconds())} late"
    return told


def _failed(run: RunFacts) -> str:
    if run.reason == "end_unknown":
        return f"failed: {_times(run.deliveries)} it is not known how it ended, and that is the limit"
    if run.reason == "owner_died":
        return f"failed: {_times(run.deliveries)} its owner died while it executed, and that is the limit"
    return f"failed after {_attempts(run.attempt)}{_told_error(run)}"


def _skipped(run: RunFacts, definition: JobDefinition | None, timezone: str) -> str:
    if run.reason == "overlap":
        if run.overlapped_run_id is not None and run.overlapped_scheduled_for is not None:
            other = f"the run of {at(run.overlapped_scheduled_for, timezone)} ({run.overlapped_run_id})"
        else:
            other = "an earlier run of the job"
        return f'was skipped: {other} executed still, and the job\'s overlap is "skip"'
    if run.reason == "locked":
        key = definition and (definition.lock_key or f"job:{definition.job_id}")
        return f"was skipped: somebody else held the job's lock{f' {key!r}' if key else ''}"
    return f"was skipped: {_why(run, _SKIPPED)}"


def _why(run: RunFacts, sentences: Mapping[str, str]) -> str:
    """The sentence of a run's reason; one that has none of its own speaks for itself (`too_late`: "too late")."""
    if run.reason is None:
        return "nobody wrote down why"
    return sentences.get(run.reason, run.reason.replace("_", " "))


def _missed(run: RunFacts, definition: JobDefinition | None, timezone: str) -> str:
    if run.reason == "misfire":
        why = "planned later than the job allows"
        if definition is not None:
            why += f' (misfire_grace is {definition.misfire_grace:g} s, misfire is "{definition.misfire.value}")'
        why += ": nobody led at that time, or the job was changed"
    else:
        why = _why(run, _MISSED)
    return f"{_counted(run, timezone)} did not run: {why}."


def _counted(run: RunFacts, timezone: str) -> str:
    count, last = run.missed_count or 1, at(run.scheduled_for, timezone)
    if count == 1:
        return f"The occurrence of {last}"
    return f"{count:,} occurrences from {at(run.missed_from or run.scheduled_for, timezone)} to {last}"


def _cancelled(run: RunFacts, timezone: str) -> str:
    if run.cancel_requested_at is None:
        return "was cancelled: its replica stopped before the callback had ended"
    who = f" by {run.cancel_requested_by}" if run.cancel_requested_by else ""
    when = "before it began" if run.started_at is None else "while it was under way"
    return f"was cancelled{who} at {at(run.cancel_requested_at, timezone)}, {when}"


def _running(run: RunFacts, timezone: str) -> str:
    since = f" since {at(run.started_at, timezone)}" if run.started_at is not None else ""
    told = f"executes{since} on {run.instance_id}"
    if run.owner_lives is False:
        told += ", which is gone: the leader takes the run over within a lease's TTL"
    if run.cancel_requested_at is not None:
        who = f" by {run.cancel_requested_by}" if run.cancel_requested_by else ""
        told += f"; it was asked to end{who} at {at(run.cancel_requested_at, timezone)}"
    return told


def _retrying(run: RunFacts, definition: JobDefinition | None, timezone: str) -> str:
    of = f" of {definition.max_retries + 1}" if definition is not None else ""
    when = f", due at {at(run.next_attempt_at, timezone)}" if run.next_attempt_at is not None else ""
    return f"waits for attempt {run.attempt + 1}{of}{when}; the last one failed{_told_error(run)}"


def _pending(run: RunFacts, definition: JobDefinition | None, timezone: str) -> str:
    if run.reason == "no_callback":
        which = definition.callback if definition is not None else "its callback"
        return f"waits for a replica that can call {which}"
    if run.reason == NO_TIMEZONE:
        zone = repr(definition.timezone) if definition is not None else "of its job"
        return f"waits for a leader whose time zone data have the zone {zone}"
    if run.reason == UNREADABLE:
        return "waits until somebody puts the job's row right, which can't be read"
    if run.next_attempt_at is not None:
        return f"waits until {at(run.next_attempt_at, timezone)}: an owner died while it executed{_told_error(run)}"
    if run.instance_id is None and run.offered is not None:
        which = definition.callback if definition is not None else "its callback"
        return f"is offered to every replica that executes and can call {which}"
    if run.instance_id is None:
        return "waits for the leader to take it"
    if run.owner_lives is False:
        return f"waits: its owner {run.instance_id} is gone, and the leader takes it over"
    return f"is about to begin on {run.instance_id}"


def _told_limit(limit: Limit) -> str:
    most = None if limit.most is None else f"at most {limit.most} of {limit.key!r} execute at once"
    rate = limit.rate and f"{limit.rate.count} of {limit.key!r} begin in {in_words(limit.rate.per_seconds)}"
    return ": " + ", ".join(told for told in (most, rate) if told)


def _told_error(run: RunFacts) -> str:
    return f": {run.error}" if run.error else ""


def _attempts(count: int) -> str:
    return "1 attempt" if count == 1 else f"{count} attempts"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
