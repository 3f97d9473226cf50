"""Overlap: what a run does that is to start while the job's previous run still executes."""

from __future__ import annotations

from enum import StrEnum

from scheduler_core.domain.jobs.policies import Overlap

MAX_QUEUED_PER_JOB = 1_000
"""More would be a backlog that never ends: the job takes longer than it has time."""


class Turn(StrEnum):
    """What a run does now. A skipped run's reason is the value."""

    START = "start"
    WAIT = "wait"
    SKIP = "overlap"
    SKIP_FULL = "queue_full"

    @property
    def skips(self) -> bool:
        return self in {Turn.SKIP, Turn.SKIP_FULL}


def take_turn(overlap: Overlap, *, busy: bool, in_order: bool, waiting: int) -> Turn:
    """Decide for one run.

    Parameters: busy, whether a run of the same job executes; in_order, whether this one was planned together with
    others of its job or adopted (a catch-up runs one at a time, it does not skip itself); waiting, runs of the
    job that wait already.
    """
    if overlap is Overlap.ALLOW or not busy:
        return Turn.START
    if overlap is Overlap.SKIP and not in_order:
        return Turn.SKIP
    return Turn.SKIP_FULL if waiting >= MAX_QUEUED_PER_JOB else Turn.WAIT
