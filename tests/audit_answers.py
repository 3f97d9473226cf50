"""The answers to the questions of docs/audit.md, worked out in Python from the rows of the base tables.

Nothing here is SQL but the reading of whole tables, and no view is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

Row = Any
Answer = list[tuple[Any, ...]]
SECOND = timedelta(seconds=1)
BEGAN_AND_FAILED = ("failed", "lost")
CALENDAR = ("calendar", "no_calendar")


@dataclass(frozen=True, repr=False)
class History:
    """All there is, as plain rows; and what the question is about."""

    runs: Sequence[Row]
    attempts: Sequence[Row]
    jobs: Sequence[Row]
    terms: Sequence[Row]
    changes: Sequence[Row]
    asked: Mapping[str, str]

    @cached_property
    def since(self) -> datetime:
        return datetime.fromisoformat(self.asked["since"])

    @cached_property
    def until(self) -> datetime:
        return datetime.fromisoformat(self.asked["until"])

    @cached_property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.asked["at"])

    @cached_property
    def failed_at(self) -> datetime:
        return datetime.fromisoformat(self.asked["failed_at"])

    @cached_property
    def span(self) -> list[Row]:
        return [run for run in self.runs if self.since <= run.scheduled_for < self.until]

    @cached_property
    def begun(self) -> list[Row]:
        return [run for run in self.span if run.started_at is not None]

    @cached_property
    def tries(self) -> list[Row]:
        """Failed, lost and late attempts, and those by which runs succeeded."""
        good = [
            SimpleNamespace(
                run_id=r.run_id,
                job_id=r.job_id,
                scheduled_for=r.scheduled_for,
                attempt=r.attempt,
                started_at=r.attempt_started_at,
                finished_at=r.finished_at,
                outcome="succeeded",
                error_type=None,
                error_message=None,
                term=r.term,
                instance_id=r.instance_id,
                late=False,
            )
            for r in self.runs
            if r.status == "succeeded"
        ]
        return [a for a in [*self.attempts, *good] if self.since <= a.scheduled_for < self.until]

    @property
    def gaps(self) -> list[tuple[datetime, Row]]:
        return [(t.acquired_at - t.leaderless_for, t) for t in self.terms if t.leaderless_for is not None]

    def policy(self, run: Row, name: str) -> str | None:
        for change in self.changes:
            if (change.job_id, change.version) == (run.job_id, run.definition_version) and change.new is not None:
                return str(change.new[name])
        return None


def read_history(sql: psycopg.Connection[Any], asked: Mapping[str, str]) -> History:
    """Every row of every table."""

    def rows(table: str) -> list[Row]:
        with sql.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(f"SELECT * FROM scheduler.{table}").fetchall()

    return History(*(rows(table) for table in ("runs", "attempts", "jobs", "leader_terms", "job_changes")), asked)


ANSWERS: dict[str, Callable[[History], Answer]] = {}


def to(question: str) -> Callable[[Callable[[History], Answer]], Callable[[History], Answer]]:
    """This function answers that question of the page."""

    def remember(answer: Callable[[History], Answer]) -> Callable[[History], Answer]:
        ANSWERS[question] = answer
        return answer

    return remember


def percentile(values: Iterable[timedelta], share: float) -> timedelta | None:
    """As percentile_cont: interpolated between the two neighbours."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def by(rows: Iterable[Row], *keys: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Rows under their keys; one key stands bare, several in a tuple."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        values = tuple(key(row) for key in keys)
        groups[values[0] if len(values) == 1 else values].append(row)
    return groups


def job(row: Row) -> str:
    return str(row.job_id)


def lateness(run: Row) -> timedelta:
    return run.started_at - run.scheduled_for  # type: ignore[no-any-return]


def duration(run: Row) -> timedelta:
    return run.finished_at - run.started_at  # type: ignore[no-any-return]


def durations(runs: Iterable[Row]) -> list[timedelta]:
    return [duration(r) for r in runs if r.started_at is not None and r.finished_at is not None]


def attempts_of(run: Row) -> int:
    if run.started_at is None:
        return 0
    return int(run.attempt) + (run.status == "running")


def instants(runs: Iterable[Row]) -> list[datetime]:
    return [r.scheduled_for for r in runs]


def nulls_last(value: Any) -> tuple[bool, Any]:
    return (value is None, value or "")


def missed_by(run: Row) -> int:
    """Occurrences that did not run and that this row counts."""
    if run.status == "skipped" or run.missed_count is None:
        return 0
    return int(run.missed_count) - (run.status != "missed")


def failed(run: Row) -> bool:
    return run.status in BEGAN_AND_FAILED


def percent(part: int, whole: int) -> float:
    return 100 * part / whole


def monday(instant: datetime) -> date:
    day = instant.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def leading(h: History) -> list[Row]:
    return [t for t in h.terms if t.acquired_at < h.until and (t.ended_at is None or t.ended_at > h.since)]


@to("Who led when?")
def _(h: History) -> Answer:
    return [
        (t.term, t.instance_id, t.host, t.acquired_at, t.ended_at, t.end_reason, t.leaderless_for)
        for t in sorted(leading(h), key=lambda t: t.term)
    ]


@to("Who led at a certain moment?")
def _(h: History) -> Answer:
    return [
        (t.term, t.instance_id, t.host)
        for t in h.terms
        if t.acquired_at <= h.at and (t.ended_at is None or h.at < t.ended_at)
    ]


@to("What were the longest gaps without a leader?")
def _(h: History) -> Answer:
    found = [(began, t) for began, t in h.gaps if h.since <= t.acquired_at < h.until]
    found.sort(key=lambda gap: gap[1].leaderless_for, reverse=True)
    return [(began, t.leaderless_for, t.term, t.instance_id) for began, t in found[:10]]


@to("What share of the time did each host lead?")
def _(h: History) -> Answer:
    answer = []
    for host, terms in by(leading(h), lambda t: t.host).items():
        led = sum((min(t.ended_at or h.until, h.until) - max(t.acquired_at, h.since) for t in terms), timedelta())
        answer.append((host, len(terms), led, 100 * (led / (h.until - h.since))))
    return sorted(answer, key=lambda row: (-row[2], row[0]))


@to("Why did terms end?")
def _(h: History) -> Answer:
    ended = [t for t in h.terms if t.ended_at is not None and h.since <= t.ended_at < h.until]
    answer = [
        (reason, len(terms), sum((t.ended_at - t.acquired_at for t in terms), timedelta()) / len(terms))
        for reason, terms in by(ended, lambda t: t.end_reason).items()
    ]
    return sorted(answer, key=lambda row: (-row[1], row[0]))


@to("What did each handover do to lateness?")
def _(h: History) -> Answer:
    answer = []
    of_term = by([r for r in h.begun if r.origin == "schedule"], lambda r: r.term)
    for t in sorted(h.terms, key=lambda t: t.term):
        if t.term not in of_term or not h.since <= t.acquired_at < h.until:
            continue
        settled = t.acquired_at + timedelta(minutes=1)
        first = [lateness(r) for r in of_term[t.term] if r.scheduled_for < settled]
        rest = [lateness(r) for r in of_term[t.term] if r.scheduled_for >= settled]
        answer.append((t.term, t.leaderless_for, len(first), max(first, default=None), percentile(rest, 0.95)))
    return answer


@to("What became of the runs of one term?")
def _(h: History) -> Answer:
    groups = by([r for r in h.span if r.term == int(h.asked["term"])], lambda r: r.status, lambda r: r.reason)
    answer = [(*key, len(runs), min(instants(runs)), max(instants(runs))) for key, runs in groups.items()]
    return sorted(answer, key=lambda row: (-row[2], row[0], nulls_last(row[1])))


@to("How late did runs start, hour by hour?")
def _(h: History) -> Answer:
    runs = [r for r in h.begun if r.origin == "schedule"]
    hours = by(runs, lambda r: r.scheduled_for.astimezone(UTC).replace(minute=0, second=0, microsecond=0))
    return [
        (hour, len(late), percentile(late, 0.5), percentile(late, 0.95), max(late))
        for hour, late in sorted((hour, [lateness(r) for r in runs]) for hour, runs in hours.items())
    ]


@to("What share of the runs started within a second, job by job?")
def _(h: History) -> Answer:
    due = [r for r in h.span if r.origin == "schedule" and r.status not in ("skipped", "cancelled")]
    answer = []
    for job_id, runs in by(due, job).items():
        occurrences = sum(r.missed_count or 1 for r in runs)
        on_time = sum(r.started_at is not None and lateness(r) <= SECOND for r in runs)
        answer.append((job_id, occurrences, percent(on_time, occurrences)))
    return sorted(answer, key=lambda row: (round(row[2], 3), row[0]))


@to("Which runs waited longest before they started?")
def _(h: History) -> Answer:
    late = [r for r in h.begun if r.origin != "backfill" and lateness(r) > SECOND]
    late.sort(key=lambda r: (-lateness(r), r.run_id))
    return [(r.run_id, r.job_id, r.scheduled_for, r.origin, lateness(r), r.instance_id) for r in late[:50]]


@to("Which minutes were the busiest?")
def _(h: History) -> Answer:
    minutes = by(h.begun, lambda r: r.started_at.replace(second=0, microsecond=0))
    answer = [(minute, len(runs), len({r.job_id for r in runs})) for minute, runs in minutes.items()]
    return sorted(answer, key=lambda row: (-row[1], row[0]))[:10]


@to("How many runs were under way at once, at most?")
def _(h: History) -> Answer:
    steps = [(r.started_at, 1) for r in h.begun] + [(r.finished_at, -1) for r in h.begun if r.finished_at is not None]
    level, best = 0, (0, h.until)
    for at, step in sorted(steps):
        level += step
        if level > best[0]:
            best = (level, at)
    return [(best[1], best[0])]


@to("Which runs took longest?")
def _(h: History) -> Answer:
    runs = sorted((r for r in h.begun if r.finished_at is not None), key=lambda r: (-duration(r), r.run_id))
    return [(r.run_id, r.job_id, r.scheduled_for, r.status, attempts_of(r), duration(r)) for r in runs[:20]]


@to("Which jobs became slower?")
def _(h: History) -> Answer:
    begin = h.since - (h.until - h.since)
    good = [r for r in h.runs if r.status == "succeeded" and begin <= r.scheduled_for < h.until]
    answer: Answer = []
    for job_id, runs in sorted(by(good, job).items()):
        before = percentile((duration(r) for r in runs if r.scheduled_for < h.since), 0.95)
        now = percentile((duration(r) for r in runs if r.scheduled_for >= h.since), 0.95)
        if before is not None and now is not None and now > 1.5 * before:
            answer.append((job_id, before, now))
    return answer


@to("What failed?")
def _(h: History) -> Answer:
    runs = sorted(filter(failed, h.span), key=job)
    runs.sort(key=lambda r: r.scheduled_for, reverse=True)
    return [(r.scheduled_for, r.job_id, r.status, attempts_of(r), r.error, r.run_id) for r in runs[:100]]


@to("Which jobs failed several times in a row?")
def _(h: History) -> Answer:
    answer = []
    ended = [r for r in h.span if r.status == "succeeded" or failed(r)]
    for job_id, runs in by(ended, job).items():
        streak: list[datetime] = []
        for run in [*sorted(runs, key=lambda r: r.scheduled_for), None]:
            if run is not None and failed(run):
                streak.append(run.scheduled_for)
                continue
            if len(streak) >= 3:
                answer.append((job_id, len(streak), streak[0], streak[-1]))
            streak = []
    return sorted(answer, key=lambda row: (-row[1], row[0], row[2]))


@to("Which jobs ran and never succeeded?")
def _(h: History) -> Answer:
    answer = []
    for job_id, runs in sorted(by(h.begun, job).items()):
        if not any(r.status == "succeeded" for r in runs):
            last = max(runs, key=lambda r: r.scheduled_for)
            answer.append((job_id, len(runs), last.scheduled_for, last.error))
    return answer


@to("Which jobs did not run at all?")
def _(h: History) -> Answer:
    ran = {r.job_id for r in h.begun}
    idle = [
        j for j in h.jobs if j.enabled and j.auto_disabled_at is None and j.finished_at is None and j.job_id not in ran
    ]
    return [(j.job_id, j.name, j.next_run) for j in sorted(idle, key=job)]


@to("Which types of errors, week by week?")
def _(h: History) -> Answer:
    bad = [a for a in h.tries if a.outcome in ("failed", "timeout", "lost")]
    groups = by(bad, lambda a: monday(a.scheduled_for), lambda a: a.error_type)
    answer = [(*key, len(rows), len({a.job_id for a in rows})) for key, rows in groups.items()]
    return sorted(answer, key=lambda row: (row[0], -row[2], row[1]))


@to("How does one job fail?")
def _(h: History) -> Answer:
    bad = [a for a in h.tries if a.job_id == h.asked["job_id"] and a.outcome in ("failed", "timeout", "lost")]
    answer = [
        (*key, len(rows), min(a.started_at for a in rows), max(a.started_at for a in rows))
        for key, rows in by(bad, lambda a: a.error_type, lambda a: a.error_message).items()
    ]
    return sorted(answer, key=lambda row: (-row[2], row[0], row[1]))


@to("What do retries do for each job?")
def _(h: History) -> Answer:
    answer = []
    for job_id, runs in by([r for r in h.span if attempts_of(r) > 0], job).items():
        again = [r for r in runs if attempts_of(r) > 1]
        if again:
            retries = sum(attempts_of(r) - 1 for r in runs)
            ends = [r.status for r in again]
            answer.append((job_id, len(runs), retries, ends.count("succeeded"), ends.count("failed")))
    return sorted(answer, key=lambda row: (-row[2], row[0]))


@to("At which hour of the day do runs fail?")
def _(h: History) -> Answer:
    answer = []
    for hour, runs in sorted(by(h.begun, lambda r: r.scheduled_for.astimezone(UTC).hour).items()):
        bad = sum(map(failed, runs))
        answer.append((hour, len(runs), bad, percent(bad, len(runs))))
    return answer


@to("What was changed between a job's last success and its failure?")
def _(h: History) -> Answer:
    job_id = h.asked["job_id"]
    begin = h.failed_at - timedelta(days=7)
    good = [r for r in h.runs if r.job_id == job_id and r.status == "succeeded"]
    healthy = max(r.scheduled_for for r in good if begin <= r.scheduled_for < h.failed_at)
    changes = [c for c in h.changes if c.job_id == job_id and healthy < c.changed_at <= h.failed_at]
    answer = []
    for c in sorted(changes, key=lambda c: c.changed_at):
        for name, new in sorted(c.new.items()):
            if c.old is None or name not in c.old or c.old[name] != new:
                old = None if c.old is None else c.old.get(name)
                answer.append((c.changed_at, c.version, c.action, c.actor, c.source, name, old, new))
    return answer


@to("What was missed, and why?")
def _(h: History) -> Answer:
    rows = [r for r in h.span if missed_by(r)]
    groups = by(rows, job, lambda r: r.reason if r.status == "missed" else "counted in a run")
    answer = [
        (*key, sum(map(missed_by, runs)), min(r.missed_from for r in runs), max(instants(runs)))
        for key, runs in groups.items()
    ]
    return sorted(answer, key=lambda row: (-row[2], row[0], row[1]))


@to("Which gap without a leader cost which occurrences?")
def _(h: History) -> Answer:
    costs: dict[Any, int] = defaultdict(int)
    for run in h.span:
        for began, t in h.gaps:
            if (run.status, run.reason) == ("missed", "downtime") and began <= run.scheduled_for < t.acquired_at:
                costs[began, t.leaderless_for, run.job_id] += run.missed_count
    answer = [(*key, count) for key, count in costs.items()]
    return sorted(answer, key=lambda row: (row[0], -row[3], row[2]))


@to("What was skipped, and why?")
def _(h: History) -> Answer:
    answer = []
    for key, runs in by([r for r in h.span if r.status == "skipped"], job, lambda r: r.reason).items():
        count = sum((r.missed_count or 1) if r.reason in CALENDAR else 1 for r in runs)
        answer.append((*key, count, min(instants(runs)), max(instants(runs))))
    return sorted(answer, key=lambda row: (-row[2], row[0], row[1]))


@to("What has not ended yet?")
def _(h: History) -> Answer:
    open_runs = [r for r in h.span if r.status in ("pending", "queued", "running", "retrying")]
    groups = by(open_runs, lambda r: r.status, lambda r: r.reason, job)
    answer = [(*key, len(runs), min(instants(runs))) for key, runs in groups.items()]
    return sorted(answer, key=lambda row: (row[4], row[2]))


@to("Which runs were begun again because their replica died?")
def _(h: History) -> Answer:
    runs = {r.run_id: r for r in h.span if r.deliveries > 0 and r.status != "lost"}
    lost = [a for a in h.tries if a.outcome == "lost" and a.run_id in runs]
    answer = [
        (
            a.job_id,
            a.scheduled_for,
            a.run_id,
            a.instance_id,
            a.started_at,
            runs[a.run_id].status,
            runs[a.run_id].instance_id,
        )
        for a in lost
    ]
    return sorted(answer, key=lambda row: (row[1], row[0]))


@to("What ran twice outside its policy?")
def _(h: History) -> Answer:
    runs = {r.run_id: r for r in h.span}
    answer = []
    for run_id, tries in by([a for a in h.tries if a.started_at is not None], lambda a: a.run_id).items():
        policy = h.policy(runs[run_id], "delivery")
        for a in tries:
            after_success = any(b.outcome == "succeeded" and not b.late and a.started_at > b.finished_at for b in tries)
            after_loss = any(b.outcome == "lost" and a.started_at > b.started_at for b in tries)
            if after_success or (after_loss and policy == "at_most_once"):
                answer.append((a.job_id, a.scheduled_for, run_id, policy, a.started_at))
    return sorted(answer, key=lambda row: (row[1], row[0], row[4]))


@to("Which runs of a job overlapped although its policy forbids it?")
def _(h: History) -> Answer:
    answer = []
    for job_id, runs in sorted(by(h.begun, job).items()):
        busy_until: datetime | None = None
        for run in sorted(runs, key=lambda r: (r.started_at, r.run_id)):
            policy = h.policy(run, "overlap")
            if busy_until is not None and run.started_at < busy_until and policy not in (None, "allow"):
                answer.append((job_id, run.scheduled_for, run.run_id, busy_until - run.started_at, policy))
            if run.finished_at is not None:
                busy_until = max(busy_until or run.finished_at, run.finished_at)
    return answer


@to("Which outcomes came too late to count?")
def _(h: History) -> Answer:
    late = sorted((a for a in h.tries if a.late), key=lambda a: (a.scheduled_for, a.job_id, a.attempt))
    return [
        (a.job_id, a.scheduled_for, a.run_id, a.attempt, a.outcome, a.finished_at, a.term, a.instance_id) for a in late
    ]


@to("Which replica ran most?")
def _(h: History) -> Answer:
    answer = []
    for instance_id, runs in by([r for r in h.begun if r.instance_id], lambda r: r.instance_id).items():
        bad = sum(r.status == "failed" for r in runs)
        answer.append((instance_id, len(runs), bad, sum(durations(runs), timedelta())))
    return sorted(answer, key=lambda row: (-row[1], row[0]))


@to("Where did runs come from, day by day?")
def _(h: History) -> Answer:
    groups = by(h.span, lambda r: r.scheduled_for.astimezone(UTC).date(), lambda r: r.origin)
    return sorted(((*key, len(runs)) for key, runs in groups.items()), key=lambda row: (row[0], -row[2], row[1]))


@to("How did reruns end, and what had they been?")
def _(h: History) -> Answer:
    known = {r.run_id: r for r in h.span}
    answer: Answer = []
    for again in sorted((r for r in h.span if r.rerun_of is not None), key=lambda r: (r.scheduled_for, r.job_id)):
        before = known.get(again.rerun_of)
        told = (before.run_id, before.status, before.error) if before else (None, None, None)
        answer.append((again.job_id, again.scheduled_for, again.status, *told))
    return answer


@to("Who cancelled which runs?")
def _(h: History) -> Answer:
    runs = [r for r in h.span if r.cancel_requested_at is not None]
    return [
        (r.cancel_requested_by, r.job_id, r.scheduled_for, r.cancel_requested_at, r.status, r.run_id)
        for r in sorted(runs, key=lambda r: (r.cancel_requested_at, r.run_id))
    ]


@to("Which version of a definition ran when, and how well?")
def _(h: History) -> Answer:
    answer = []
    for key, runs in sorted(by(h.begun, job, lambda r: r.definition_version).items()):
        good = sum(r.status == "succeeded" for r in runs)
        answer.append((*key, len(runs), min(instants(runs)), max(instants(runs)), percent(good, len(runs))))
    return answer


@to("Who changed what?")
def _(h: History) -> Answer:
    changes = [c for c in h.changes if h.since <= c.changed_at < h.until]
    return [
        (c.changed_at, c.job_id, c.version, c.action, c.actor, c.source)
        for c in sorted(changes, key=lambda c: (c.changed_at, c.job_id, c.version))
    ]


@to("Who paused what, why, and for how long?")
def _(h: History) -> Answer:
    answer: Answer = []
    for job_id, changes in by(h.changes, job).items():
        ordered = sorted(changes, key=lambda c: c.version)
        for number, c in enumerate(ordered):
            if c.action != "paused" or not h.since <= c.changed_at < h.until:
                continue
            after = [d.changed_at for d in ordered[number + 1 :] if d.new is None or d.new.get("paused_at") is None]
            paused_for = min(after) - c.changed_at if after else None
            answer.append((job_id, c.changed_at, c.actor, c.new.get("pause_note"), paused_for))
    return sorted(answer, key=lambda row: (row[1], row[0]))


@to("How was a job defined at a certain moment?")
def _(h: History) -> Answer:
    before = [c for c in h.changes if c.job_id == h.asked["job_id"] and c.changed_at <= h.at]
    latest = max(before, key=lambda c: c.version)
    if latest.new is None:
        return []
    return [
        (latest.version, latest.changed_at, latest.actor, name, value) for name, value in sorted(latest.new.items())
    ]


@to("How did one job do, day by day?")
def _(h: History) -> Answer:
    days: list[tuple[Any, ...]] = []
    runs = [r for r in h.runs if r.job_id == h.asked["job_id"]]
    for day, rows in sorted(by(runs, lambda r: r.scheduled_for.astimezone(UTC).date()).items()):
        if not h.since.date() <= day < h.until.date():
            continue
        count = sum((r.missed_count or 1) if r.reason in CALENDAR else 1 for r in rows if r.status != "missed")
        before = [row[1] for row in days[-7:]]
        days.append(
            (
                day,
                count,
                sum(r.status == "failed" for r in rows),
                sum(map(missed_by, rows)),
                percentile(durations(rows), 0.95),
                sum(before) / len(before) if before else None,
            )
        )
    return days


@to("How did every job do?")
def _(h: History) -> Answer:
    answer = []
    for job_id, runs in sorted(by(h.span, job).items()):
        begun = [r for r in runs if r.started_at is not None]
        states = [r.status for r in runs]
        answer.append(
            (
                job_id,
                len(begun),
                states.count("succeeded"),
                sum(map(failed, runs)),
                sum(map(missed_by, runs)),
                percentile(durations(runs), 0.95),
                percentile((lateness(r) for r in begun if r.origin != "backfill"), 0.95),
            )
        )
    return answer
