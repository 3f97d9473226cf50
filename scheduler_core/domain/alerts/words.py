"""How alarms are told: the text and the data of each notification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from scheduler_core.domain.alerts.alarm import (
    SHOWN_JOBS,
    AlarmKind,
    Closing,
    Event,
    Facts,
    Notification,
    Opening,
    Takeover,
)
from scheduler_core.domain.clock import WHAT_TO_DO
from scheduler_core.domain.wording import in_words


def describe_openings(opened: Sequence[Opening], facts: Facts) -> Iterable[Notification]:
    """One notification for each kind of alarm that opened in this look."""
    for kind, group in groupby(sorted(opened, key=lambda o: (o.kind, o.since)), key=lambda o: o.kind):
        openings = list(group)
        more = kind is AlarmKind.OVERDUE and not facts.is_late_complete
        jobs = [_job_data(o, facts.now) for o in openings[:SHOWN_JOBS]]
        yield Notification(
            Event(kind.value),
            _headline(kind, openings, facts.now, more),
            facts.now,
            {"count": len(openings), "is_complete": not more, "jobs": jobs},
        )


def _job_data(opening: Opening, now: datetime) -> dict[str, Any]:
    data: dict[str, Any] = {
        "job_id": opening.job_id,
        "name": opening.name,
        "since": opening.since.isoformat(),
        "detail": opening.detail,
        "run_id": None if opening.run_id is None else str(opening.run_id),
    }
    if opening.kind is AlarmKind.OVERDUE:
        data["overdue_seconds"] = round((now - opening.since).total_seconds(), 3)
    if opening.kind is AlarmKind.FAILURE:
        data["failed_runs"] = opening.failed_runs
    return data


def _headline(kind: AlarmKind, openings: Sequence[Opening], now: datetime, more: bool) -> str:
    first = openings[0]
    others = len(openings) - 1
    match kind:
        case AlarmKind.OVERDUE:
            text = f"job {first.job_id} is overdue by {in_words((now - first.since).total_seconds())}: {first.detail}"
        case AlarmKind.FAILURE:
            text = f"job {first.job_id} failed: {first.detail}"
        case AlarmKind.DISABLED:
            text = f"job {first.job_id} was disabled: {first.detail}"
        case AlarmKind.CLOCK:
            text = f"planning has stopped: {first.detail}; {WHAT_TO_DO}"
        case AlarmKind.TRANSACTION:
            text = f"a transaction stays open: {first.detail}"
    return f"{text} (and {'at least ' if more else ''}{others} more jobs)" if others or more else text


def describe_closings(closed: Sequence[Closing], now: datetime) -> Iterable[Notification]:
    """One notification for all that closed in this look, if anything did."""
    if not closed:
        return
    first, others = closed[0], len(closed) - 1
    if first.alarm.kind is AlarmKind.CLOCK:
        text = f"planning goes on: {first.why}"
    elif first.alarm.kind is AlarmKind.TRANSACTION:
        text = f"no transaction stays open any more: {first.why}"
    else:
        text = f"job {first.alarm.job_id} is well again ({first.alarm.kind}): {first.why}"
    jobs = [
        {
            "job_id": closing.alarm.job_id,
            "name": closing.alarm.name,
            "of": closing.alarm.kind.value,
            "since": closing.alarm.since.isoformat(),
            "lasted_seconds": round((now - closing.alarm.since).total_seconds(), 3),
            "detail": closing.why,
        }
        for closing in closed[:SHOWN_JOBS]
    ]
    yield Notification(
        Event.RECOVERY,
        f"{text} (and {others} more alarms)" if others else text,
        now,
        {"count": len(closed), "is_complete": True, "jobs": jobs},
    )


def describe_takeover(takeover: Takeover) -> Notification | None:
    """The takeover, told once; None for the first leader ever, who took over from nobody."""
    if takeover.former_instance_id is None:
        return None
    gap = takeover.leaderless_seconds
    return Notification(
        Event.TAKEOVER,
        f"{takeover.instance_id} leads since term {takeover.term}, after {takeover.former_instance_id}: "
        f"{takeover.reason or 'no reason given'}" + ("" if gap is None else f"; nobody led for {in_words(gap)}"),
        takeover.acquired_at,
        {
            "term": takeover.term,
            "instance_id": takeover.instance_id,
            "host": takeover.host,
            "former_instance_id": takeover.former_instance_id,
            "reason": takeover.reason,
            "is_planned": takeover.is_planned,
            "leaderless_seconds": None if gap is None else round(gap, 3),
        },
    )
