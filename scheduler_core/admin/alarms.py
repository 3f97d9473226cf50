"""Alarms as people ask for them: those that are open, and where nobody watches, those that a look would open now."""

from __future__ import annotations

from typing import Any

from scheduler_core.container import Container
from scheduler_core.domain.alerts.alarm import Opening
from scheduler_core.domain.alerts.decision import decide

UNWATCHED_INTERVALS = 3
"""Without a look for so many of them nobody is there to look."""

GRACE_SECONDS = 1.0


async def report_alarms(
    container: Container, *, closed_too: bool = False, before: int | None = None, limit: int = 1_000
) -> dict[str, Any]:
    """Alarms, the latest first.

    Parameters: closed_too, those of the last month that are closed as well; before, the alarm_id that the page before
    ended with. What nobody watches is looked at now, without changing anything; such alarms have no alarm_id yet, and
    stand on the first page. Returns `alarms`; `open`, how many of them are; `looked_at`, `looked_by`, who looked last;
    `unwatched_seconds`, for how long nobody has, None while somebody does and where nobody ever did.
    """
    alarms, settings = container.get_alarms(), container.settings
    watch = await alarms.watch()
    rows = await alarms.listed(closed_too=closed_too, before=before, limit=limit)
    silent_seconds = None if watch["looked_at"] is None else (watch["now"] - watch["looked_at"]).total_seconds()
    limit_seconds = UNWATCHED_INTERVALS * settings.alarm_interval + GRACE_SECONDS
    # A look from the future was made before the database's clock went back.
    is_watched = silent_seconds is not None and -GRACE_SECONDS < silent_seconds < limit_seconds
    if not is_watched and before is None:
        look = await alarms.look(overdue_seconds=settings.overdue_seconds, fresh_seconds=0.0)
        assert look is not None
        rows = [_row(opening) for opening in decide(look.facts).opened] + rows
    return {
        "alarms": rows,
        "open": sum(row["closed_at"] is None for row in rows),
        "looked_at": watch["looked_at"],
        "looked_by": watch["looked_by"],
        "unwatched_seconds": None if is_watched or silent_seconds is None else round(max(0.0, silent_seconds), 3),
    }


def _row(opening: Opening) -> dict[str, Any]:
    return {
        "alarm_id": None,
        "kind": opening.kind.value,
        "job_id": opening.job_id,
        "job_name": opening.name,
        "since": opening.since,
        "detail": opening.detail,
        "run_id": opening.run_id,
        "failed_runs": opening.failed_runs,
        "opened_at": None,
        "last_at": None,
        "closed_at": None,
        "closed_why": None,
    }
