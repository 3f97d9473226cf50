"""Which alarms open, which are over, and what of it is told. Pure: the facts of one look in, changes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from scheduler_core.domain.alerts.alarm import (
    CLOCK_NAME,
    MAX_OPEN,
    SHOWN_CHARACTERS,
    TRANSACTION_NAME,
    AlarmKind,
    Changes,
    ClockHold,
    Closing,
    Facts,
    OpenAlarm,
    Opening,
    OpenTransaction,
)
from scheduler_core.domain.alerts.words import describe_closings, describe_openings, describe_takeover


def decide(facts: Facts) -> Changes:
    """What opens, what closes and what is told.

    An alarm that has news in this look is not closed by it: a run that failed and one that succeeded in the same
    moment are told one after the other, never lost against each other. One that was over and has begun anew since the
    last look closes now, and opens with the next. At most MAX_OPEN are open; what finds no room is counted in
    `without_room`.
    """
    is_open = {(alarm.kind, alarm.job_id): alarm for alarm in facts.open}
    anew = {key for key, alarm in is_open.items() if alarm.has_begun_anew}
    news = {key: o for o in _openings(facts) if (key := (o.kind, o.job_id)) not in anew}
    wanted = [opening for key, opening in news.items() if key not in is_open]
    opened = tuple(wanted[: max(0, MAX_OPEN - len(facts.open))])
    renewed = tuple(o for key, o in news.items() if key in is_open and _is_news(o, is_open[key]))
    closed = tuple(
        Closing(alarm, why)
        for alarm in facts.open
        if (alarm.kind, alarm.job_id) not in news
        and (why := why_over(alarm, facts.holds, facts.transactions)) is not None
    )
    told = (
        *describe_openings(opened, facts),
        *describe_closings(closed, facts.now),
        *map(describe_takeover, facts.takeovers),
    )
    notifications = tuple(notice for notice in told if notice is not None)
    return Changes(opened, renewed, closed, notifications, len(wanted) - len(opened))


def without_lateness(facts: Facts) -> Facts:
    """What a look found where the database's clock is not to be believed: nobody can tell what is late, or long open.

    What is open of these stays open, as it was told.
    """
    still_open = [
        replace(alarm, is_late=True) if alarm.kind is AlarmKind.OVERDUE else alarm
        for alarm in facts.open
        if alarm.kind is not AlarmKind.TRANSACTION
    ]
    return replace(facts, late=(), is_late_complete=True, transactions=(), open=still_open)


def _is_news(opening: Opening, alarm: OpenAlarm) -> bool:
    """Whether an open alarm has to say something new: another failure, or that its job waits for something else now."""
    match opening.kind:
        case AlarmKind.FAILURE:
            return True
        case AlarmKind.OVERDUE | AlarmKind.CLOCK | AlarmKind.TRANSACTION:
            return opening.detail != alarm.detail
        case AlarmKind.DISABLED:
            return False


def why_over(
    alarm: OpenAlarm, holds: Sequence[ClockHold] = (), transactions: Sequence[OpenTransaction] = ()
) -> str | None:
    """Why an alarm is over, by what its job is like now, or Postgres; None while it is not."""
    if alarm.kind is AlarmKind.TRANSACTION:
        return None if transactions else "it has ended"
    if alarm.kind is AlarmKind.CLOCK:
        if any(hold.is_open for hold in holds):
            return None
        return next(
            (hold.ended_why for hold in reversed(holds) if hold.ended_why is not None), "nothing stops planning"
        )
    if not alarm.exists:
        return "the job was removed"
    match alarm.kind:
        case AlarmKind.FAILURE:
            return None if alarm.is_failing else "a run succeeded"
        case AlarmKind.OVERDUE:
            return None if alarm.is_late else "it is not overdue any more"
        case _:
            return None if alarm.is_disabled and not alarm.has_begun_anew else "it was enabled again"


def _openings(facts: Facts) -> Iterable[Opening]:
    for hold in facts.holds:
        if hold.is_open or not hold.is_told:
            yield Opening(AlarmKind.CLOCK, "", CLOCK_NAME, hold.since, hold.detail)
    if facts.transactions:
        oldest = min(facts.transactions, key=lambda transaction: transaction.since)
        others = len(facts.transactions) - 1
        detail = oldest.detail + (f" (and {others} more)" if others else "")
        yield Opening(AlarmKind.TRANSACTION, "", TRANSACTION_NAME, oldest.since, detail)
    # Of a job that is late in two ways, the earlier comes last, and stands.
    for late in sorted(facts.late, key=lambda late: late.since, reverse=True):
        yield Opening(AlarmKind.OVERDUE, late.job_id, late.name, late.since, late.reason, 0, late.run_id)
    for failed in facts.failed:
        error = failed.error[:SHOWN_CHARACTERS]
        yield Opening(
            AlarmKind.FAILURE, failed.job_id, failed.name, failed.failed_at, error, failed.count, failed.run_id
        )
    disabled = {failed.job_id: failed.name for failed in facts.failed if failed.is_disabled}
    disabled |= {alarm.job_id: alarm.name for alarm in facts.open if alarm.is_disabled}
    for job_id, name in sorted(disabled.items()):
        yield Opening(AlarmKind.DISABLED, job_id, name, facts.now, "it failed too often in a row")
