"""Backfill: which occurrences of a past range would be made up for. Pure; storage knows which have a run already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.planning.plan import StoredJob
from scheduler_core.domain.planning.segments import TICK, allowed_occurrences, segments

MOST_OCCURRENCES = 10_000
"""What one backfill makes unless its limit says otherwise: a slip of the pen must not queue a year of seconds."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill of [start, end]: the occurrences to make, in order, and those that have a run, with its status."""

    job_id: str
    start: datetime
    end: datetime
    to_make: tuple[datetime, ...]
    existing: tuple[tuple[datetime, str], ...]

    @property
    def count(self) -> int:
        """How many occurrences the range holds."""
        return len(self.to_make) + len(self.existing)


def check_range(
    start: datetime, end: datetime, now: datetime, history_days: int, kept_from: datetime | None = None
) -> None:
    """Refuse a range that can't be backfilled.

    Parameters: start and end, aware, both inclusive; now, the database's clock; history_days, how long runs are
    kept; kept_from, the first instant whose runs were not dropped, None: none were. Raises InvalidJobError.
    """
    for name, instant in (("from", start), ("until", end)):
        if instant.tzinfo is None:
            raise InvalidJobError(f"backfill {name}: give an instant with a time zone, as 2026-01-31T09:00:00+00:00")
    if end < start:
        raise InvalidJobError(f"backfill: {start.isoformat()} is later than {end.isoformat()}: swap --from and --until")
    if end > now:
        raise InvalidJobError(
            f"backfill until {end.isoformat()}: that is in the future, where the schedule itself fires; give an "
            f"instant up to now ({now.isoformat(timespec='seconds')})"
        )
    oldest = now - timedelta(days=history_days)
    if start < oldest:
        raise InvalidJobError(
            f"backfill from {start.isoformat()}: runs are kept for history_days = {history_days}, so begin at "
            f"{oldest.isoformat(timespec='seconds')} or later, or raise history_days"
        )
    if kept_from is not None and start < kept_from:
        # `history_days` was raised since: what ran on those days is known in sums only, and would run again.
        raise InvalidJobError(
            f"backfill from {start.isoformat()}: the runs before {kept_from.isoformat()} were dropped, so nobody can "
            "tell which occurrences have run: begin there or later"
        )


def occurrences_in(job: StoredJob, start: datetime, end: datetime, limit: int) -> list[datetime]:
    """The occurrences of a job in [start, end], in order.

    What the job's calendars exclude is left out. Counted before they are walked: a range with more than `limit`
    costs nothing. Raises InvalidJobError for one, and where a calendar is missing, so that nobody can tell.
    """
    if job.missing_calendars:
        raise InvalidJobError(
            f"backfill of job {job.job_id!r}: there is no calendar {job.missing_calendars[0]!r}, so nobody can tell "
            "which occurrences it leaves out: add it first"
        )
    first = job.schedule.next_after(start - TICK)
    if first is None or first > end:
        return []
    kinds = segments(job.schedule, job.exclusions, first, end + TICK)
    count = sum(segment.count for segment in kinds if not segment.excluded)
    if count > limit:
        raise InvalidJobError(
            f"backfill of job {job.job_id!r}: the range holds {count:,} occurrences, more than the {limit:,} allowed: "
            "give a shorter range, or a higher --limit"
        )
    return [instant for instant, _ in allowed_occurrences(job.schedule, job.exclusions, first, end)]


def backfill(
    job: StoredJob, start: datetime, end: datetime, instants: Sequence[datetime], rows: dict[datetime, str]
) -> Backfill:
    """Part the occurrences by whether they have a run.

    Parameters: rows, the status of each row of the job in the range. A `missed` row only counts occurrences, so
    the one that it stands at may be made up for like the others that it counts.
    """
    taken = {instant: status for instant, status in rows.items() if status != "missed"}
    return Backfill(
        job.job_id,
        start,
        end,
        tuple(instant for instant in instants if instant not in taken),
        tuple((instant, taken[instant]) for instant in instants if instant in taken),
    )
