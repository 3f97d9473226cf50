"""The last known state of the jobs that this process added: what `get_job_status` answers from, without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence, Set
from itertools import islice
from uuid import UUID

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.runs.run import LoggerLike, Outcome
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.ports.jobs import Jobs

CHUNK = 1_000
"""Of what is read on demand: what is being added, what a start begins with."""

PIECE = 100
"""Of what is read in passing: reading a thousand would keep every fire of that moment waiting for ten milliseconds."""

DIRTY_SECONDS = 0.05
EVERY_SECONDS = 1.0
REST = 20
"""Times as long as a reading took, at least, before the next: however many jobs fire, statuses cost little."""


class StatusCache:
    """Statuses in memory, refreshed from the database: what changed here first, the rest in turn.

    Parameters: jobs, where they are read; logger.
    """

    def __init__(self, jobs: Jobs, logger: LoggerLike, machine: MachineClock = SYSTEM_CLOCK) -> None:
        self._jobs = jobs
        self._logger = logger
        self._monotonic = machine.monotonic
        self._statuses: dict[str, JobStatus] = {}
        self._dirty: set[str] = set()

    def get(self, job_id: str) -> JobStatus | None:
        return self._statuses.get(job_id)

    def all(self) -> dict[str, JobStatus]:
        """Every status, by job_id."""
        return dict(self._statuses)

    def first(self, count: int) -> list[str]:
        """The ids of the jobs that were added first."""
        return list(islice(self._statuses, count))

    def add(self, jobs: Iterable[ScheduleJob]) -> None:
        """Know of these jobs, if only what their code says so far."""
        for job in jobs:
            if job.job_id not in self._statuses:
                self._statuses[job.job_id] = _initial(job)

    def remove(self, job_id: str) -> None:
        self._statuses.pop(job_id, None)

    def change(self, job_id: str) -> None:
        """The job's row has changed."""
        if job_id in self._statuses:
            self._dirty.add(job_id)

    def outcomes_recorded(self, outcomes: Sequence[Outcome], _late: Set[UUID]) -> None:
        """These outcomes are durable, and their jobs' counters with them."""
        if self._statuses:
            self._dirty.update(job_id for outcome in outcomes if (job_id := outcome.run.job_id) in self._statuses)

    async def refresh(self, job_ids: Sequence[str]) -> None:
        """Read the states of these jobs now."""
        if not job_ids:
            return
        for status in await self._jobs.states(job_ids):
            if status.job_id in self._statuses:
                self._statuses[status.job_id] = status

    async def keep_fresh(self) -> None:
        """Refresh for ever, at a bounded rate."""
        position, took_seconds = 0, 0.0
        while True:
            await asyncio.sleep(max(DIRTY_SECONDS if self._dirty else EVERY_SECONDS, REST * took_seconds))
            ids = list(islice(self._dirty, PIECE))
            self._dirty.difference_update(ids)
            if not ids:
                position = 0 if position >= len(self._statuses) else position
                ids = list(islice(self._statuses, position, position + PIECE))
                position += PIECE
            began = self._monotonic()
            try:
                await self.refresh(ids)
            except SchedulerError as error:
                self._logger.debug("statuses stay as they are: %s", error)
            took_seconds = min(self._monotonic() - began, EVERY_SECONDS)


def _initial(job: ScheduleJob) -> JobStatus:
    return JobStatus(
        job_id=job.job_id,
        name=job.name,
        enabled=job.enabled,
        last_run=job.last_run,
        next_run=job.next_run,
        run_count=job.run_count,
        error_count=job.error_count,
        consecutive_failures=0,
        running=False,
        paused=False,
        last_status=None,
        last_error=None,
    )
