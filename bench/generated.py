"""A made-up run history of any size, generated inside Postgres, a set at a time, in the project's own tables.

Every figure is drawn by hashing the occurrence, so the same shape gives the same history. What it holds: busy jobs and
rare ones; retries, failures in a row, lost and cancelled runs; terms with gaps of milliseconds and outages of minutes,
during which occurrences are missed and counted; triggers, reruns and backfills; a second version of some definitions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import text

from bench.generating_sql import DOCUMENTS, FILL, LEAD, REWRITE_LOG
from scheduler_core import Container, ScheduleJob
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.partitions import Partitions
from scheduler_core.storage.postgres.placeholders import fill

NEVER = datetime(2100, 1, 1, tzinfo=UTC)
"""Generated jobs are due then, so that a scheduler on the same database has nothing to do with them."""

MOST_PER_DAY = 43_200
STATEMENT_ROWS = 50_000
NEVER_RAN = 3
REPLICAS = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """How much history: about `rows` runs of `jobs` jobs, evenly over `days` days, which end before `until`."""

    rows: int
    days: int
    jobs: int
    until: date
    seed: int = 2026

    @property
    def first_day(self) -> date:
        return self.until - timedelta(days=self.days)

    def each_day(self) -> list[date]:
        return [self.first_day + timedelta(days=n) for n in range(self.days)]


@dataclass(frozen=True, slots=True)
class Term:
    """One generated leadership; `begins_at` is when the one before ended."""

    term: int
    instance_id: str
    host: str
    begins_at: datetime
    acquired_at: datetime
    ended_at: datetime
    end_reason: str


@dataclass(frozen=True, slots=True)
class GeneratedJob:
    """One job and how it runs; it has another definition from `changed_at` on."""

    number: int
    job_id: str
    name: str
    per_day: int
    run_seconds: float
    changed_at: datetime | None


async def generate(container: Container, shape: Shape) -> None:
    """Fill an empty, migrated schema with jobs, terms, runs and attempts of this shape."""
    database = container.get_database()
    jobs, terms = list(make_jobs(shape)), list(make_terms(shape))
    await container.get_operations().declare([_definition(job) for job in jobs])
    await _rewrite_log(database, jobs, midnight(shape.first_day) - timedelta(days=1))
    await database.fetch(LEAD, _lead_parameters(terms))
    await Partitions(database).ensure(midnight(day) for day in [*shape.each_day(), shape.until])
    for number, day in enumerate(shape.each_day()):
        for part in _parts([job for job in jobs if job.per_day]):
            await database.fetch(FILL, _fill_parameters(number, day, part, terms))
        for table in ("runs", "attempts"):
            await database.run_alone([f'VACUUM (ANALYZE) "{database.schema}"."{table}_{day:%Y%m%d}"'])
    # The partitions have their own statistics; the planner asks for those of the whole too.
    await database.run_alone(
        [f'ANALYZE "{database.schema}"."{table}"' for table in ("runs", "attempts", "leader_terms")]
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the log of changes."""

    at: datetime
    job_id: str
    version: int
    action: str
    actor: str
    source: str
    old: str
    new: str


async def _rewrite_log(database: Database, jobs: Sequence[GeneratedJob], begin: datetime) -> None:
    """All jobs were added before the history begins; some were changed and paused meanwhile."""
    documents = {row.job_id: json.loads(row.document) for row in await database.fetch(DOCUMENTS)}
    changes = [change for job in jobs for change in make_changes(job, documents[job.job_id])]
    parameters = {f"{f.name}s": [getattr(change, f.name) for change in changes] for f in fields(Change)}
    async with database.transaction() as connection:
        for statement in REWRITE_LOG:
            given = {name: value for name, value in (parameters | {"begin": begin}).items() if f":{name} " in statement}
            await connection.execute(text(fill(statement, database.schema)), given)


def make_changes(job: GeneratedJob, document: dict[str, Any]) -> Iterator[Change]:
    """What became of a job that was changed: a deploy gave it a timeout; every third was paused for an hour then."""
    if job.changed_at is None:
        return
    steps = [("changed", "deploy", "code", {"timeout": 60.0})]
    if job.number % 3 == 1:
        steps.append(("paused", "operator-1", "cli", {"paused_at": "then", "pause_note": f"too noisy: {job.name}"}))
        steps.append(("resumed", "operator-2", "api", {"paused_at": None, "pause_note": None}))
    for number, (action, actor, source, state) in enumerate(steps):
        old, document = document, document | state
        at = job.changed_at + timedelta(hours=number)
        yield Change(at, job.job_id, number + 2, action, actor, source, json.dumps(old), json.dumps(document))


def make_jobs(shape: Shape) -> Iterator[GeneratedJob]:
    """A few busy jobs, many rare ones, and some that never ran."""
    draw = random.Random(shape.seed)
    weights = [1 / (rank + 5) for rank in range(shape.jobs)]
    share = shape.rows / shape.days / sum(weights)
    for number, weight in enumerate(weights):
        per_day = min(MOST_PER_DAY, max(1, round(share * weight)))
        changed = midnight(shape.first_day) + timedelta(days=shape.days * draw.random())
        yield GeneratedJob(
            number,
            f"job-{number:04}",
            f"Job {number}",
            per_day,
            min(600.0, 10 ** draw.uniform(-2.5, 2.5), 30_000 / per_day),
            changed if number % 5 == 1 else None,
        )
    for number in range(shape.jobs, shape.jobs + NEVER_RAN):
        yield GeneratedJob(number, f"never-{number:04}", f"Never {number}", 0, 1.0, None)


def make_terms(shape: Shape) -> Iterator[Term]:
    """Terms of about six hours; gaps of milliseconds, now and then of seconds, and each ninth of minutes."""
    draw = random.Random(shape.seed + 1)
    begins_at, end = midnight(shape.first_day) - timedelta(seconds=1), midnight(shape.until) + timedelta(days=1)
    term = 0
    while begins_at < end:
        term += 1
        if term % 9 == 4:
            gap, reason = draw.uniform(120, 900), "nobody led"
        else:
            gap, reason = draw.choice(
                [
                    (draw.uniform(0.01, 0.06), "witness fell"),
                    (draw.uniform(0.004, 0.02), "stopped"),
                    (2.4, "lease silent"),
                ]
            )
        acquired_at = begins_at + timedelta(seconds=gap)
        ended_at = acquired_at + timedelta(seconds=600 + draw.expovariate(1 / 20_000))
        replica = term % REPLICAS
        yield Term(term, f"app-{replica}-{term:04x}", f"host-{replica}", begins_at, acquired_at, ended_at, reason)
        begins_at = ended_at


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _definition(job: GeneratedJob) -> Any:
    return ScheduleJob(
        job.job_id,
        job.name,
        "interval",
        86_400 / max(1, job.per_day),
        "app:work",
        start_at=NEVER,
        delivery="at_most_once" if job.number % 10 == 3 else "at_least_once",
        overlap=("skip", "queue", "allow")[job.number % 3],
    ).definition("UTC")


def _parts(jobs: Sequence[GeneratedJob]) -> Iterator[list[GeneratedJob]]:
    """Some jobs at a time, of at most STATEMENT_ROWS runs a day together."""
    part: list[GeneratedJob] = []
    for job in jobs:
        if part and sum(other.per_day for other in part) + job.per_day > STATEMENT_ROWS:
            yield part
            part = []
        part.append(job)
    if part:
        yield part


def _lead_parameters(terms: Sequence[Term]) -> dict[str, list[Any]]:
    return {
        "terms": [t.term for t in terms],
        "instance_ids": [t.instance_id for t in terms],
        "hosts": [t.host for t in terms],
        "acquired_ats": [t.acquired_at for t in terms],
        "ended_ats": [t.ended_at if t is not terms[-1] else None for t in terms],
        "end_reasons": [after.end_reason for after in terms[1:]] + [None],
        "gaps": [None] + [t.acquired_at - t.begins_at for t in terms[1:]],
    }


def _fill_parameters(number: int, day: date, jobs: Sequence[GeneratedJob], terms: Sequence[Term]) -> dict[str, Any]:
    begin, end = midnight(day), midnight(day) + timedelta(days=1)
    of_day = [t for t in terms if t.begins_at < end and t.ended_at > begin]
    return {
        "day": begin,
        "day_number": number,
        "numbers": [j.number for j in jobs],
        "job_ids": [j.job_id for j in jobs],
        "names": [j.name for j in jobs],
        "per_days": [j.per_day for j in jobs],
        "run_seconds": [j.run_seconds for j in jobs],
        "changed_ats": [j.changed_at for j in jobs],
        "terms": [t.term for t in of_day],
        "instance_ids": [t.instance_id for t in of_day],
        "begins": [t.begins_at for t in of_day],
        "acquired_ats": [t.acquired_at for t in of_day],
        "ended_ats": [t.ended_at for t in of_day],
    }
