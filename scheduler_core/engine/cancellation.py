"""Asking again which runs are to be cancelled.

A replica is told of a cancel over its control session, within milliseconds. A message can get lost (the session was
being made anew, or a pooler stands before Postgres); the request itself stands in the run's row. So whoever has runs
in hand looks there once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.run import LoggerLike
from scheduler_core.ports import Requests

LOOK_EVERY_SECONDS = 1.0

OVERLAP = timedelta(seconds=10)
"""A request that was made before the last look may have been committed after it: looks overlap by this much."""


class CancelRequestedError(Exception):
    """Somebody asked for the run to be cancelled: it makes no further attempt.

    Parameters: ending, how the attempt that was under way ended, for people.
    """


async def watch(
    requests: Requests,
    instance_id: str,
    *,
    in_hand: Callable[[], bool],
    cancel: Callable[[UUID], None],
    logger: LoggerLike,
) -> None:
    """Look for requests, for ever.

    Parameters: in_hand, whether this replica has any run; cancel, given each run that is to be cancelled, more than
    once.
    """
    since: datetime | None = None
    while True:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        if not in_hand():
            continue
        try:
            found = await requests.cancelled_since(since, instance_id)
        except SchedulerError as error:
            logger.debug("requests to cancel are looked for again: %s", error)
            continue
        since = found.now - OVERLAP
        for run_id in found.run_ids:
            cancel(run_id)
