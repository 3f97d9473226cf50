"""What should have fired, by arithmetic of its own, against what the record says: pure.

All arithmetic is on integers, microseconds since 1970. Nothing here asks the scheduler when a job is due.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from scheduler_core.drill.evidence import DrillJob, Evidence, RunRecord
from scheduler_core.drill.verdict import Accounting, Findings, Kind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

ENDED = frozenset({"succeeded", "failed", "skipped", "missed", "lost", "cancelled"})
"""Spelled out here, not imported: the judgement has its own idea of the contract."""


def micros(instant: datetime) -> int:
    """Microseconds since 1970."""
    return (instant - EPOCH) // _MICROSECOND


def subject_of(job_id: str, scheduled_for: datetime) -> str:
    """How a finding names an occurrence."""
    return f"{job_id} at {scheduled_for.astimezone(UTC):%H:%M:%S.%f}"


class Grid:
    """The occurrences of one job: starts_at + k * every_ms, and which of those in the window are accounted for."""

    def __init__(self, job: DrillJob, window: tuple[int, int]) -> None:
        self._start = micros(job.starts_at)
        self._every = job.every_ms * 1_000
        began, ended = window
        self._first = max(0, -((self._start - began) // self._every))
        last = (ended - self._start) // self._every
        self.marks = bytearray(max(0, last - self._first + 1))
        """One byte per occurrence in the window: 1 once it is accounted for."""

    def index(self, instant: datetime) -> int | None:
        """Which occurrence an instant is, from 0; None if it is none."""
        k, rest = divmod(micros(instant) - self._start, self._every)
        return k if k >= 0 and rest == 0 else None

    def instant(self, place: int) -> datetime:
        """The instant of a place in `marks`."""
        return EPOCH + _MICROSECOND * (self._start + (self._first + place) * self._every)

    def places(self, first: int, last: int) -> range:
        """The places in `marks` of the occurrences `first` to `last`, as far as the window reaches."""
        return range(max(0, first - self._first), min(len(self.marks), last - self._first + 1))


def account(evidence: Evidence, findings: Findings) -> Accounting:
    """Hold the record against the arithmetic. Linear in occurrences and rows, in time and in memory."""
    window = (micros(evidence.began_at), micros(evidence.ended_at))
    ledger = _Ledger({job.job_id: Grid(job, window) for job in evidence.jobs}, findings)
    for run in evidence.runs:
        ledger.enter(run)
        if run.status not in ENDED and evidence.began_at <= run.scheduled_for <= evidence.ended_at:
            findings.add(
                Kind.UNFINISHED,
                subject_of(run.job_id, run.scheduled_for),
                f"run {run.run_id} is still {run.status} at the end of the drill (term {run.term})",
            )
    return ledger.close()


class _Ledger:
    """The account of every job, entered row by row."""

    def __init__(self, grids: dict[str, Grid], findings: Findings) -> None:
        self._grids = grids
        self._findings = findings
        self._seen: dict[str, set[int]] = {job_id: set() for job_id in grids}
        self._recorded = 0
        self._missed: Counter[str] = Counter()

    def enter(self, run: RunRecord) -> None:
        """Take in one row."""
        grid = self._grids.get(run.job_id)
        subject = subject_of(run.job_id, run.scheduled_for)
        if grid is None:
            if run.origin == "schedule":
                self._findings.add(Kind.UNEXPECTED_RUN, subject, f"run {run.run_id} is of a job that the drill has not")
            return
        instant = micros(run.scheduled_for)
        if instant in self._seen[run.job_id]:
            self._findings.add(Kind.DUPLICATE_RUN, subject, f"run {run.run_id} is another row of the same occurrence")
            return
        self._seen[run.job_id].add(instant)
        if run.origin != "schedule":
            return
        last = grid.index(run.scheduled_for)
        first = grid.index(run.missed_from) if run.missed_from is not None else last
        if last is None or first is None or first > last:
            self._findings.add(Kind.UNEXPECTED_RUN, subject, self._off_schedule(run))
            return
        if run.status == "missed" and run.missed_count != last - first + 1:
            self._findings.add(
                Kind.WRONG_MISSED_COUNT,
                subject,
                f"the missed row {run.run_id} counts {run.missed_count}; it stands for {last - first + 1} occurrences",
            )
        new = self._mark(grid, run, grid.places(first, last))
        if run.status == "missed":
            self._missed[run.reason or "no reason"] += new
        else:
            self._recorded += new

    def _mark(self, grid: Grid, run: RunRecord, places: range) -> int:
        new = 0
        for place in places:
            if grid.marks[place]:
                self._findings.add(
                    Kind.ACCOUNTED_TWICE,
                    subject_of(run.job_id, grid.instant(place)),
                    f"the {run.status} row {run.run_id} accounts for what another row accounts for already",
                )
            else:
                grid.marks[place] = 1
                new += 1
        return new

    @staticmethod
    def _off_schedule(run: RunRecord) -> str:
        since = "" if run.missed_from is None else f", missed from {run.missed_from.astimezone(UTC):%H:%M:%S.%f}"
        return f"the {run.status} row {run.run_id} is for an instant at which the job is not due{since}"

    def close(self) -> Accounting:
        """Find what nobody entered."""
        for job_id, grid in self._grids.items():
            place = grid.marks.find(0)
            while place >= 0:
                self._findings.add(
                    Kind.UNACCOUNTED,
                    subject_of(job_id, grid.instant(place)),
                    "the occurrence has no run row and no missed row counts it",
                )
                place = grid.marks.find(0, place + 1)
        expected = sum(len(grid.marks) for grid in self._grids.values())
        return Accounting(expected, self._recorded, dict(self._missed))
