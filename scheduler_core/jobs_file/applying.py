"""Carrying a difference out, by the verbs that deploys and operators use: nothing due is lost, a pause stays."""

from __future__ import annotations

from contextlib import suppress

from scheduler_core.domain.errors import JobNotFoundError, SchedulerError
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.jobs_file.difference import Difference

BATCH = 500
"""New jobs per statement: a failure half-way then is a failure after a known number of them."""


async def apply(difference: Difference, operations: Operations) -> int:
    """Add, change and remove the jobs; returns how many changes were made.

    Raises what stopped it, a SchedulerError that says how far it came; done again it goes on from there.
    """
    done = 0
    try:
        for start in range(0, len(difference.added), BATCH):
            batch = difference.added[start : start + BATCH]
            await operations.declare(batch)
            done += len(batch)
        for edit in difference.edited:
            await operations.declare([edit.new])
            done += 1
        for old in difference.removed:
            # Gone already: somebody else removed it meanwhile, which is what was wanted.
            with suppress(JobNotFoundError):
                await operations.remove(old.job_id)
            done += 1
    except SchedulerError as error:
        raise type(error)(
            f"{error} ({done} of {len(difference)} changes were made before; the same command again makes the rest)"
        ) from error
    return done
