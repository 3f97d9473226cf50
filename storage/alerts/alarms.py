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

from scheduler_core.domain.alerts.alarm import (
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
)
from scheduler_core.domain.alerts.decision import without_lateness
from scheduler_core.domain.clock import describe_hold
from scheduler_core.domain.runs.words import NO_TIMEZONE, UNREADABLE
from scheduler_core.ports.alerts import Look, Stored
from scheduler_core.storage.alerts.alarm_statements import (
    CLOSE,
    DROPPED,
    FAILED,
    FORGET_OLD,
    HOLDS,
    HOLDS_TOLD,
    LATE_JOBS,
    LATE_RUNS,
    LIST,
    OPEN,
    STORE,
    TERMS,
    WATCH,
)
from scheduler_core.storage.postgres.clock import hold_of
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.open_transactions import LONG_SECONDS, OPEN_TRANSACTIONS

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
