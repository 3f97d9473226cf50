"""A made-up run history of any size, generated inside Postgres, a set at a time, in the project's own tables.

Every figure is drawn by hashing the occurrence, so the same shape gives the same history. What it holds: busy jobs and
rare ones; retries, failures in a row, lost and cancelled runs; terms with gaps of milliseconds and outages of minutes,
during which occurrences are missed and counted; triggers, reruns and backfills; a second version of some definitions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from scheduler_core import Container, ScheduleJob
from storage.partitions import Partitions, partition_name

NEVER = datetime(2100, 1, 1, tzinfo=UTC)
"""Generated jobs are due then, so that a scheduler on the same database has nothing to do with them."""

MOST_PER_DAY = 43_200
STATEMENT_ROWS = 50_000
NEVER_RAN = 3
REPLICAS = 3

LEAD = """
WITH given AS (
    INSERT INTO {schema}.leader_terms (term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for)
    SELECT * FROM unnest(CAST(:terms AS bigint[]), CAST(:instance_ids AS text[]), CAST(:hosts AS text[]),
                         CAST(:acquired_ats AS timestamptz[]), CAST(:ended_ats AS timestamptz[]),
                         CAST(:end_reasons AS text[]), CAST(:gaps AS interval[]))
    RETURNING term
)
UPDATE {schema}.leader SET term = (SELECT max(term) FROM given)
"""

# The jobs of a statement are a part of all, so that no statement lasts long. Slots lie on whole seconds, each its own;
# runs that an operator triggered lie between them.
FILL = """
WITH job AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:numbers AS integer[]), CAST(:job_ids AS text[]), CAST(:names AS text[]),
                         CAST(:per_days AS integer[]), CAST(:run_seconds AS double precision[]),
                         CAST(:changed_ats AS timestamptz[]))
             AS j (number, job_id, name, per_day, run_seconds, changed_at)
), term AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:terms AS bigint[]), CAST(:instance_ids AS text[]), CAST(:begins AS timestamptz[]),
                         CAST(:acquired_ats AS timestamptz[]), CAST(:ended_ats AS timestamptz[]))
             AS t (term, instance_id, begins_at, acquired_at, ended_at)
), slot AS (
    SELECT j.*, k, ((:day_number * 4096 + j.number)::bigint << 17) + k AS dice,
           CAST(:day AS timestamptz)
               + make_interval(secs => floor((k + (j.number % 89) / 89.0) * 86400.0 / j.per_day)) AS at
    FROM job j, generate_series(0, j.per_day - 1) AS k
), drawn AS (
    SELECT s.*, {0} AS origin_dice, {1} AS status_dice, {2} AS attempt_dice, {3} AS reason_dice,
           -ln(1 - {4}) AS late, -ln(1 - {5}) AS long, {6} AS fraction,
           -- for two hours, now and then, nothing goes right
           hashint8extended(dice >> 17, 7) % 100 = 0
               AND extract(hour FROM at AT TIME ZONE 'UTC')::integer / 2 = abs(hashint8extended(dice >> 17, 8) % 12)
               AS in_trouble
    FROM slot s
), told AS (
    SELECT d.*, t.term, t.instance_id, t.begins_at, t.acquired_at,
           d.at < t.acquired_at AND t.acquired_at - t.begins_at > interval '10 s' AS in_outage,
           CASE WHEN origin_dice < 0.985 THEN 'schedule' WHEN origin_dice < 0.992 THEN 'trigger'
                WHEN origin_dice < 0.996 OR k = 0 THEN 'backfill' ELSE 'rerun' END AS origin
    FROM drawn d JOIN term t ON d.at >= t.begins_at AND d.at < t.ended_at
), ended AS (
    SELECT t.*,
           CASE WHEN origin = 'schedule' AND status_dice < 0.012 THEN 'skipped'
                WHEN origin = 'schedule' AND status_dice < 0.016 THEN 'missed'
                WHEN in_trouble OR status_dice > 0.98 THEN 'failed'
                WHEN status_dice > 0.979 THEN 'lost'
                WHEN status_dice > 0.977 THEN 'cancelled'
                ELSE 'succeeded' END AS status,
           at + CASE WHEN origin IN ('trigger', 'rerun') THEN make_interval(secs => 0.1 + 0.8 * fraction)
                     ELSE interval '0' END AS scheduled_for,
           make_interval(secs => 0.0004 * late
               + CASE WHEN origin = 'backfill' THEN 3600 * (1 + 20 * fraction)
                      WHEN at < acquired_at THEN extract(epoch FROM acquired_at - at)::float8 + 0.005 * late
                      WHEN fraction > 0.995 THEN 2 * long ELSE 0 END) AS lateness,
           make_interval(secs => run_seconds * (0.2 + long)) AS run_time
    FROM told t WHERE NOT in_outage
), counted AS (
    SELECT e.*, status NOT IN ('skipped', 'missed') AS began,
           CASE status WHEN 'failed' THEN 4 WHEN 'cancelled' THEN 1
                WHEN 'succeeded' THEN CASE WHEN attempt_dice < 0.93 THEN 1 WHEN attempt_dice < 0.98 THEN 2
                                           WHEN attempt_dice < 0.995 THEN 3 ELSE 4 END
                ELSE 0 END AS attempt,
           CASE WHEN status = 'lost' OR status = 'succeeded' AND reason_dice > 0.997 THEN 1 ELSE 0 END AS deliveries,
           md5(dice::text)::uuid AS run_id,
           (ARRAY['ConnectionError', 'TimeoutError', 'ValueError', 'KeyError', 'OperationalError'])
               [1 + (number + (:day_number / 7) + floor(reason_dice * 2)::integer) % 5] AS error_type
    FROM ended e
), timed AS (
    -- an owner that died is noticed after a while, and the attempt begun again
    SELECT c.*, scheduled_for + lateness AS began_at, run_time + interval '5 s' AS each_time,
           scheduled_for + lateness + greatest(attempt - 1, 0) * (run_time + interval '5 s') AS first_try_at,
           scheduled_for + lateness + greatest(attempt - 1, 0) * (run_time + interval '5 s')
               + CASE WHEN status = 'succeeded' THEN deliveries * interval '4 s' ELSE interval '0' END AS last_try_at
    FROM counted c
), failures AS (
    INSERT INTO {schema}.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome,
                                   error_type, error_message, traceback, term, instance_id)
    SELECT run_id, job_id, scheduled_for, n, began_at + (n - 1) * each_time, began_at + (n - 1) * each_time + run_time,
           CASE WHEN status = 'cancelled' THEN 'cancelled'
                WHEN error_type = 'TimeoutError' THEN 'timeout' ELSE 'failed' END,
           CASE WHEN status = 'cancelled' THEN 'CancelledError' ELSE error_type END,
           'the other side said no (' || n || ')', 'Traceback: …', term, instance_id
    FROM timed, generate_series(1, CASE WHEN status = 'succeeded' THEN attempt - 1 ELSE attempt END) AS n
    WHERE began AND attempt > 0
    UNION ALL
    SELECT run_id, job_id, scheduled_for, attempt + CASE WHEN status = 'lost' THEN 1 ELSE 0 END, first_try_at,
           first_try_at + interval '3 s', 'lost', 'OwnerDied',
           'the replica that ran this attempt died', NULL, greatest(term - 1, 1), 'gone-' || instance_id
    FROM timed WHERE began AND deliveries > 0
)
INSERT INTO {schema}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, reason, attempt, deliveries,
                           started_at, attempt_started_at, finished_at, term, instance_id, definition_version, error,
                           missed_count, missed_from, rerun_of, cancel_requested_at, cancel_requested_by, created_at)
SELECT run_id, job_id, name, scheduled_for, scheduled_for, origin, status,
       CASE status WHEN 'skipped'
                        THEN (ARRAY['overlap', 'overlap', 'locked', 'calendar'])[1 + floor(reason_dice * 4)::integer]
                   WHEN 'missed' THEN (ARRAY['misfire', 'paused'])[1 + floor(reason_dice * 2)::integer]
                   WHEN 'lost' THEN 'owner_died' WHEN 'cancelled' THEN 'requested' END,
       attempt, deliveries,
       CASE WHEN began THEN began_at END, CASE WHEN began THEN last_try_at END,
       CASE WHEN NOT began THEN scheduled_for + interval '1 ms'
            WHEN status = 'lost' THEN first_try_at + interval '3 s' ELSE last_try_at + run_time END,
       term, CASE WHEN began AND status <> 'lost' THEN instance_id END,
       CASE WHEN scheduled_for >= changed_at THEN 2 ELSE 1 END,
       CASE status WHEN 'failed' THEN error_type || ': the other side said no (4)'
                   WHEN 'lost' THEN 'OwnerDied: the replica that ran this attempt died'
                   WHEN 'cancelled' THEN 'CancelledError: the other side said no (1)' END,
       CASE WHEN status = 'missed' OR status = 'skipped' AND reason_dice >= 0.75 THEN 1 END,
       CASE WHEN status = 'missed' OR status = 'skipped' AND reason_dice >= 0.75 THEN scheduled_for END,
       CASE WHEN origin = 'rerun' THEN md5((dice - 1)::text)::uuid END,
       CASE WHEN status = 'cancelled' THEN began_at END,
       CASE WHEN status = 'cancelled' THEN 'operator-' || number % 4 END,
       scheduled_for - interval '50 ms'
FROM timed
UNION ALL
-- What was due while nobody led is one row for each job, which counts the others.
SELECT md5(max(dice)::text)::uuid, job_id, min(name), max(at), max(at), 'schedule', 'missed', 'downtime', 0, 0,
       NULL, NULL, min(acquired_at), min(term), NULL,
       CASE WHEN max(at) >= min(changed_at) THEN 2 ELSE 1 END, NULL, count(*), min(at), NULL, NULL, NULL,
       min(acquired_at)
FROM told WHERE in_outage
GROUP BY job_id, term
"""
for _number in range(7):
    # A number from 0 to 1 for each occurrence, the seventh of the occurrence's own.
    FILL = FILL.replace(f"{{{_number}}}", f"(hashint8extended(dice, {100 + _number}) & 1073741823) / 1073741824.0")


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
    await database.fetch(LEAD, _lead_parameters(terms))
    await Partitions(database).ensure(midnight(day) for day in [*shape.each_day(), shape.until])
    for number, day in enumerate(shape.each_day()):
        for part in _parts([job for job in jobs if job.per_day]):
            await database.fetch(FILL, _fill_parameters(number, day, part, terms))
        for table in ("runs", "attempts"):
            await database.run_alone([f'VACUUM (ANALYZE) "{database.schema}"."{partition_name(table, day)}"'])
    # The partitions have their own statistics; the planner asks for those of the whole too.
    await database.run_alone(
        [f'ANALYZE "{database.schema}"."{table}"' for table in ("runs", "attempts", "leader_terms")]
    )


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
