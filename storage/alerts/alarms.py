"""Alarms: what a look at the jobs finds, and the one statement that stores what follows from it.

Any replica looks, leader or not, and so may several at once. A look only reads. What follows is stored under the
version that the look began with: one of them wins, the others' changes are dropped whole, and so everything is told
once. A replica that dies in between has changed nothing, and the next one finds the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler_core.domain.alarm import (
    MAX_OPEN,
    AlarmKind,
    Changes,
    ClockHold,
    Facts,
    FailedRuns,
    LateJob,
    OpenAlarm,
    OpenTransaction,
    Takeover,
    without_lateness,
)
from scheduler_core.domain.clock import describe_hold
from scheduler_core.domain.run_words import NO_TIMEZONE, UNREADABLE
from scheduler_core.ports.alerts import Look, Stored
from scheduler_core.storage.postgres.clock import READABLE_HOLD, hold_of
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.open_transactions import LONG_SECONDS, OPEN_TRANSACTIONS

# Where the row is gone (somebody deleted it) a look goes on: it is made again, and terms so far count as told. A look
# that lies in the future was made before the database's clock went back.
WATCH = """
SELECT clock_timestamp() AS now, coalesce(w.version, 0) AS version, w.looked_at, w.looked_by, w.dropped,
       coalesce(w.term, (SELECT max(term) FROM {schema}.leader_terms), 0) AS term,
       coalesce(w.looked_at > clock_timestamp() - make_interval(secs => :fresh)
                AND w.looked_at <= clock_timestamp(), false) AS is_fresh
FROM (VALUES (true)) AS always (only_row) LEFT JOIN {schema}.alarm_watch w USING (only_row)
"""

# By the index on due_at, earliest first: as cheap as the question for what is due. Instants that Python does not have
# are somebody's hand edits.
LATE_JOBS = """
WITH seat AS MATERIALIZED (
    SELECT i.zones
    FROM {schema}.leader l JOIN {schema}.instances i USING (instance_id) WHERE l.nonce IS NOT NULL
)
SELECT job_id, name, due_at AS since,
       CASE WHEN timezone <> ALL (CAST((SELECT zones FROM seat) AS text[])) THEN timezone END AS unknown_zone
FROM {schema}.jobs
WHERE due_at < (SELECT clock_timestamp() - make_interval(secs => :overdue)) AND due_at > '0001-01-03'
  AND next_run IS NOT NULL AND enabled AND auto_disabled_at IS NULL
ORDER BY due_at LIMIT :limit
"""

# Claimed, and nobody began it. What is queued waits for its turn by the overlap policy, and a backfill for its turn by
# the others': neither is overdue. Unfinished runs are few, and the partial index on them finds no others.
LATE_RUNS = """
SELECT DISTINCT ON (job_id) job_id, name, since, reason, run_id
FROM (
    SELECT job_id, job_name AS name, greatest(due_at, next_attempt_at) AS since, reason, run_id
    FROM {schema}.runs r
    WHERE status IN ('pending', 'retrying') AND origin <> 'backfill'
      AND EXISTS (SELECT FROM {schema}.jobs j WHERE j.job_id = r.job_id)
      AND greatest(due_at, next_attempt_at) < (SELECT clock_timestamp() - make_interval(secs => :overdue))
      AND due_at > '0001-01-03'
    LIMIT :limit
) AS waiting
ORDER BY job_id, since
"""

# Noted is every attempt that failed; told is a run that ended with it. One that goes on is noted again with its next
# attempt. Each run is found by its key, however many runs there are.
FAILED = """
WITH noted AS MATERIALIZED (
    SELECT failure_id, job_id, run_id, scheduled_for, attempt, failed_at
    FROM {schema}.failed_attempts ORDER BY failure_id LIMIT :limit
), ended AS (
    SELECT DISTINCT ON (n.run_id) n.failure_id, n.failed_at, n.job_id, n.run_id, r.job_name, r.error
    FROM noted n
    CROSS JOIN LATERAL (
        SELECT r.job_name, coalesce(r.error, r.status) AS error
        FROM {schema}.runs r
        WHERE r.run_id = n.run_id AND r.job_id = n.job_id AND r.scheduled_for = n.scheduled_for
          AND r.status IN ('failed', 'lost') AND r.attempt <= n.attempt
        LIMIT 1
    ) AS r
    ORDER BY n.run_id, n.failure_id DESC
), of_job AS (
    SELECT e.job_id, max(e.job_name) AS name, count(*) AS count,
           (array_agg(e.run_id ORDER BY e.failure_id DESC))[1] AS run_id,
           (array_agg(e.failed_at ORDER BY e.failure_id DESC))[1] AS failed_at,
           (array_agg(e.error ORDER BY e.failure_id DESC))[1] AS error,
           bool_or(j.auto_disabled_at IS NOT NULL) IS TRUE AS is_disabled
    FROM ended e LEFT JOIN {schema}.jobs j USING (job_id)
    GROUP BY e.job_id
)
SELECT of_job.*, (SELECT array_agg(failure_id) FROM noted) AS failure_ids
FROM (VALUES (true)) AS always LEFT JOIN of_job ON true
ORDER BY of_job.job_id
"""

# Each open alarm with what its job is like now. An alarm closes later than it opens (`calm` is shorter than `overdue`),
# or a job about as late as the limit would open and close one with each look. One of a kind that a later version raises
# is that version's.
OPEN = """
SELECT a.alarm_id, a.kind, a.job_id, a.job_name, a.since, a.detail, j.job_id IS NOT NULL AS job_exists,
       (j.consecutive_failures > 0) IS TRUE AS is_failing, (j.auto_disabled_at IS NOT NULL) IS TRUE AS is_disabled,
       (a.kind = 'disabled' AND j.auto_disabled_at > a.since) IS TRUE AS has_begun_anew,
       a.kind = 'overdue' AND (
           (j.due_at < moment.calm AND j.next_run IS NOT NULL AND j.enabled AND j.auto_disabled_at IS NULL) IS TRUE
           OR EXISTS (SELECT FROM {schema}.runs r
                      WHERE r.job_id = a.job_id AND r.status IN ('pending', 'retrying') AND r.origin <> 'backfill'
                        AND greatest(r.due_at, r.next_attempt_at) < moment.calm)) AS is_late
FROM {schema}.alarms a
CROSS JOIN (SELECT clock_timestamp() - make_interval(secs => :calm) AS calm) AS moment
LEFT JOIN {schema}.jobs j USING (job_id)
WHERE a.closed_at IS NULL AND a.kind = ANY(CAST(:kinds AS text[]))
ORDER BY a.alarm_id
LIMIT :limit
"""

# What stops planning, and what did since it was last told: a jump that is over in seconds is told all the same.
HOLDS = f"""
SELECT h.hold_id, h.expected_at, h.database_at, h.wall_at, h.boot, h.boottime, h.error, h.evidence, h.instance_id,
       h.told, h.ended_at IS NULL AS is_open, h.ended_why
FROM {{schema}}.clock_holds h
WHERE (h.ended_at IS NULL OR NOT h.told OR h.hold_id = (SELECT max(hold_id) FROM {{schema}}.clock_holds))
  AND {READABLE_HOLD}
ORDER BY h.hold_id
LIMIT :limit
"""

HOLDS_TOLD = """
UPDATE {schema}.clock_holds SET told = true WHERE hold_id = ANY(CAST(:hold_ids AS bigint[])) AND NOT told
"""

# Terms are committed in their order: they move one row.
TERMS = """
SELECT t.term, t.instance_id, t.host, t.acquired_at, extract(epoch FROM t.leaderless_for)::float8 AS leaderless_seconds,
       former.instance_id AS former_instance_id, former.end_reason AS reason
FROM {schema}.leader_terms t
LEFT JOIN LATERAL (
    SELECT instance_id, end_reason FROM {schema}.leader_terms f WHERE f.term < t.term ORDER BY f.term DESC LIMIT 1
) AS former ON true
WHERE t.term > :term
ORDER BY t.term
LIMIT :limit
"""

# All of it or nothing, and only under the version that the look began with. Nobody else writes to `alarms` but a person
# who closes one; the unique index has the last word about two open ones. Notifications are queued only while somebody
# is there to deliver them, and at most `max_waiting` wait.
STORE = """
WITH watch AS (
    INSERT INTO {schema}.alarm_watch AS w (version, looked_at, looked_by, term, notifies_until)
    SELECT :version + 1, clock_timestamp(), :instance_id, :term,
           CASE WHEN :delivers THEN clock_timestamp() + make_interval(secs => :believed) END
    ON CONFLICT (only_row) DO UPDATE
    SET version = w.version + 1, looked_at = excluded.looked_at, looked_by = excluded.looked_by,
        term = greatest(w.term, excluded.term), notifies_until = greatest(w.notifies_until, excluded.notifies_until)
    WHERE w.version = :version
    RETURNING version, notifies_until > clock_timestamp() AS notifies
), opened AS (
    INSERT INTO {schema}.alarms (kind, job_id, job_name, since, detail, failed_runs, run_id)
    SELECT o.* FROM unnest(CAST(:kinds AS text[]), CAST(:job_ids AS text[]), CAST(:names AS text[]),
                           CAST(:sinces AS timestamptz[]), CAST(:details AS text[]), CAST(:counts AS bigint[]),
                           CAST(:run_ids AS uuid[])) AS o
    WHERE EXISTS (SELECT FROM watch)
    ON CONFLICT DO NOTHING
), renewed AS (
    UPDATE {schema}.alarms a
    SET detail = n.detail, run_id = n.run_id, last_at = clock_timestamp(), failed_runs = a.failed_runs + n.count
    FROM unnest(CAST(:news_kinds AS text[]), CAST(:news_job_ids AS text[]), CAST(:news_details AS text[]),
                CAST(:news_counts AS bigint[]), CAST(:news_run_ids AS uuid[]))
         AS n (kind, job_id, detail, count, run_id)
    WHERE a.job_id = n.job_id AND a.kind = n.kind AND a.closed_at IS NULL AND EXISTS (SELECT FROM watch)
), closed AS (
    UPDATE {schema}.alarms a SET closed_at = clock_timestamp(), closed_why = c.why
    FROM unnest(CAST(:closed_ids AS bigint[]), CAST(:closed_whys AS text[])) AS c (alarm_id, why)
    WHERE a.alarm_id = c.alarm_id AND a.closed_at IS NULL AND EXISTS (SELECT FROM watch)
), looked_at AS (
    DELETE FROM {schema}.failed_attempts
    WHERE failure_id = ANY(CAST(:failure_ids AS bigint[])) AND EXISTS (SELECT FROM watch)
), told AS (
    SELECT n.event, n.body, n.position
    FROM unnest(CAST(:events AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY AS n (event, body, position)
    WHERE (SELECT notifies FROM watch)
      AND n.position <= :max_waiting - (SELECT count(*) FROM {schema}.notifications
                                        WHERE delivered_at IS NULL AND given_up_at IS NULL)
), queued AS (
    INSERT INTO {schema}.notifications (event, body)
    SELECT event, CAST(body AS jsonb) FROM told ORDER BY position
    RETURNING notification_id
)
SELECT (SELECT notifies FROM watch) AS notifies, (SELECT count(*) FROM queued) AS queued, count(*) AS applied FROM watch
"""

DROPPED = """
UPDATE {schema}.alarm_watch SET dropped = dropped + :dropped
"""

LIST = """
SELECT alarm_id, kind, job_id, job_name, since, detail, run_id, failed_runs, opened_at, last_at, closed_at, closed_why
FROM {schema}.alarms
WHERE (closed_at IS NULL OR :closed_too) AND (CAST(:before AS bigint) IS NULL OR alarm_id < :before)
ORDER BY alarm_id DESC
LIMIT :limit
"""

CLOSE = """
UPDATE {schema}.alarms SET closed_at = clock_timestamp(), closed_why = 'closed by ' || :by
WHERE job_id = :job_id AND closed_at IS NULL AND (CAST(:kind AS text) IS NULL OR kind = :kind)
RETURNING alarm_id
"""

FORGET_OLD = """
DELETE FROM {schema}.alarms WHERE alarm_id IN (
    SELECT alarm_id FROM {schema}.alarms WHERE closed_at < clock_timestamp() - make_interval(days => :days)
    ORDER BY closed_at LIMIT 1000)
"""

MAX_LATE = 1_000
MAX_FAILED_ATTEMPTS = 10_000
MAX_TERMS = 20
MAX_HOLDS = 20
MAX_WAITING = 1_000
"""Notifications that wait at once: of a storm the first are worth more than the last."""

BELIEVED_SECONDS = 86_400.0
"""How long after a replica with a webhook was last seen notifications are queued for its return."""

KEPT_DAYS = 30
CALM_SHARE = 0.5
"""Of the limit: a job that is less late than this is not overdue any more."""

WAITS_FOR_LEADER = "no leader has planned it"
WAITS_FOR_START = "it is claimed, and nobody started it"
WAITS_FOR_CALLBACK = "no replica can call its callback"
_WAITS = {
    "no_callback": WAITS_FOR_CALLBACK,
    NO_TIMEZONE: "the leader does not know its job's time zone",
    UNREADABLE: "its job's row can't be read",
}


@dataclass(frozen=True, slots=True)
class AlarmStore:
    """Alarms on one database.

    Parameters: instance_id, who looks; delivers, whether it delivers notifications as well.
    """

    database: Database
    instance_id: str
    delivers: bool = False

    async def look(self, *, overdue_seconds: float, fresh_seconds: float) -> Look | None:
        """What there is to decide on; None where somebody has looked within `fresh_seconds`.

        Parameters: overdue_seconds, how late a job is that is overdue.
        """
        watch = await self.watch(fresh_seconds=fresh_seconds)
        if watch["is_fresh"]:
            return None
        late = {"overdue": overdue_seconds, "limit": MAX_LATE}
        holds = await self._holds()
        late_jobs = await self.database.fetch(LATE_JOBS, late)
        late_runs = await self.database.fetch(LATE_RUNS, late)
        failed = await self.database.fetch(FAILED, {"limit": MAX_FAILED_ATTEMPTS})
        terms = await self.database.fetch(TERMS, {"term": watch["term"], "limit": MAX_TERMS})
        facts = Facts(
            now=watch["now"],
            late=[
                *(LateJob(row.job_id, row.name, row.since, _why_unplanned(row.unknown_zone)) for row in late_jobs),
                *(LateJob(row.job_id, row.name, row.since, _waits_for(row.reason), row.run_id) for row in late_runs),
            ],
            is_late_complete=max(len(late_jobs), len(late_runs)) < MAX_LATE,
            failed=[
                FailedRuns(row.job_id, row.name, row.count, row.run_id, row.failed_at, row.error, row.is_disabled)
                for row in failed
                if row.job_id is not None
            ],
            open=await self._open(overdue_seconds),
            holds=holds,
            transactions=await self._transactions(),
            takeovers=[Takeover(**row) for row in terms],
        )
        if any(hold.is_open for hold in holds):
            facts = without_lateness(facts)
        failure_ids = failed[0].failure_ids or ()
        term = max((row.term for row in terms), default=watch["term"])
        return Look(facts, watch["version"], term, failure_ids, len(failure_ids) == MAX_FAILED_ATTEMPTS)

    async def _holds(self) -> list[ClockHold]:
        rows = await self.database.fetch(HOLDS, {"limit": MAX_HOLDS})
        return [
            ClockHold(row.hold_id, row.expected_at, describe_hold(hold_of(row)), row.is_open, row.told, row.ended_why)
            for row in rows
        ]

    async def _transactions(self) -> list[OpenTransaction]:
        rows = await self.database.fetch(OPEN_TRANSACTIONS, {"long": LONG_SECONDS})
        return [OpenTransaction(row.since, f"{row.subject} {row.detail}") for row in rows]

    async def _open(self, overdue_seconds: float) -> list[OpenAlarm]:
        rows = await self.database.fetch(
            OPEN, {"calm": overdue_seconds * CALM_SHARE, "limit": MAX_OPEN, "kinds": list(AlarmKind)}
        )
        return [
            OpenAlarm(
                alarm_id=row.alarm_id,
                kind=AlarmKind(row.kind),
                job_id=row.job_id,
                name=row.job_name,
                since=row.since,
                detail=row.detail,
                exists=row.job_exists,
                is_late=row.is_late,
                is_failing=row.is_failing,
                is_disabled=row.is_disabled,
                has_begun_anew=row.has_begun_anew,
            )
            for row in rows
        ]

    async def store(self, look: Look, changes: Changes) -> Stored:
        """Store what follows from a look, unless another one was faster."""
        opened, news, closed = changes.opened, changes.renewed, changes.closed
        row = await self.database.fetch_one(
            STORE,
            {
                "version": look.version,
                "instance_id": self.instance_id,
                "term": look.term,
                "delivers": self.delivers,
                "believed": BELIEVED_SECONDS,
                "kinds": [o.kind.value for o in opened],
                "job_ids": [o.job_id for o in opened],
                "names": [o.name for o in opened],
                "sinces": [o.since for o in opened],
                "details": [o.detail for o in opened],
                "counts": [o.failed_runs for o in opened],
                "run_ids": [o.run_id for o in opened],
                "news_kinds": [o.kind.value for o in news],
                "news_job_ids": [o.job_id for o in news],
                "news_details": [o.detail for o in news],
                "news_counts": [o.failed_runs for o in news],
                "news_run_ids": [o.run_id for o in news],
                "closed_ids": [c.alarm.alarm_id for c in closed],
                "closed_whys": [c.why for c in closed],
                "failure_ids": look.failure_ids,
                "events": [n.event.value for n in changes.notifications],
                "bodies": [json.dumps(n.body(), ensure_ascii=False) for n in changes.notifications],
                "max_waiting": MAX_WAITING,
            },
        )
        assert row is not None
        untold = [hold.hold_id for hold in look.facts.holds if not hold.is_told]
        if row.applied == 1 and untold:
            await self.database.fetch(HOLDS_TOLD, {"hold_ids": untold})
        dropped = len(changes.notifications) - row.queued if row.notifies else 0
        if dropped:
            await self.database.fetch(DROPPED, {"dropped": dropped})
        return Stored(applied=row.applied == 1, queued=row.queued, dropped=dropped)

    async def watch(self, *, fresh_seconds: float = 0.0) -> Mapping[str, Any]:
        """Who looked last, and when (None: nobody has, yet)."""
        row = await self.database.fetch_one(WATCH, {"fresh": fresh_seconds})
        assert row is not None
        return dict(row)

    async def listed(
        self, *, closed_too: bool = False, before: int | None = None, limit: int = 1_000
    ) -> list[dict[str, Any]]:
        """Alarms, the latest first; with `before`, those that opened before that alarm_id."""
        parameters = {"closed_too": closed_too, "before": before, "limit": limit}
        return [dict(row) for row in await self.database.fetch(LIST, parameters)]

    async def close(self, job_id: str, *, kind: AlarmKind | None, by: str) -> int:
        """Close a job's alarms by hand, all or those of a kind; returns how many. Nobody is notified."""
        parameters = {"job_id": job_id, "kind": None if kind is None else kind.value, "by": by}
        return len(await self.database.fetch(CLOSE, parameters))

    async def forget_old(self) -> None:
        """Delete some of the alarms that have been closed for a month."""
        await self.database.fetch(FORGET_OLD, {"days": KEPT_DAYS})


def _why_unplanned(unknown_zone: str | None) -> str:
    return WAITS_FOR_LEADER if unknown_zone is None else f"the leader does not know its time zone {unknown_zone!r}"


def _waits_for(reason: str | None) -> str:
    return _WAITS.get(reason or "", WAITS_FOR_START)
