"""What operators do to runs: run one again, cancel one, make up for a range of occurrences.

Any process may do these, leader or not: they go through Postgres. What is made has no owner, and whoever leads
adopts it; what is cancelled has its owner told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from scheduler_core.domain.errors import (
    InvalidJobError,
    JobConflictError,
    JobNotFoundError,
    RunNotFoundError,
    RunStateError,
)
from scheduler_core.domain.jobs.backfill import MOST_OCCURRENCES, Backfill, backfill, check_range, occurrences_in
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import Run, RunStatus
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.clock_guard import expected_now
from scheduler_core.ports.runs import CancelAnswer, InvalidRow
from scheduler_core.ports.storage import Storage

BATCH = 500


@dataclass(slots=True)
class RunOperations:
    """The verbs on runs, for one process.

    Parameters: storage; actor, who asks, for those who wonder later; history_days, how long runs are kept;
    clock_jump_limit_seconds, beyond which a jump of the database's clock is not gone by.
    """

    storage: Storage
    actor: str
    history_days: int = 30
    clock_jump_limit_seconds: float = 0.0
    machine: MachineClock = SYSTEM_CLOCK

    async def rerun(self, run_id: UUID, new_id: UUID | None = None) -> Run:
        """Add a run for now, under `new_id` if given, that repeats a finished one by the job's definition of today.

        Raises RunNotFoundError, RunStateError for a run that has not ended, JobNotFoundError if the job was removed.
        """
        at = await expected_now(self.storage, self.clock_jump_limit_seconds, self.machine)
        answer = await self.storage.requests.rerun(run_id, new_id, at)
        if answer is None:
            raise _not_found(run_id)
        if answer.run is not None:
            return answer.run
        if not answer.status.is_finished:
            raise RunStateError(
                f"run {run_id} is {answer.status.value}: only a run that has ended can run again; wait for it, or "
                f"`scheduler runs cancel {run_id}`"
            )
        raise JobNotFoundError(
            f"job {answer.job_id!r} of run {run_id} was removed: add it again, and its runs can run again"
        )

    async def cancel(self, run_id: UUID, by: str | None = None) -> CancelAnswer:
        """Cancel a run: one that waits ends at once, one that executes is ended by its owner.

        Returns the run as it stands then: `cancelled`, or `running` while its owner sees to it. A coroutine is
        cancelled within moments; a callback in a thread can't be stopped, and its run ends as cancelled once it has
        returned. There is no retry after a cancel. Cancelling a cancelled run is harmless.
        Raises RunNotFoundError, and RunStateError if the run ended otherwise before: whatever came first counts.
        """
        answer = await self.storage.requests.cancel(run_id, by or self.actor)
        if answer is None:
            raise _not_found(run_id)
        if not answer.changed and answer.status is not RunStatus.CANCELLED:
            raise RunStateError(
                f"run {run_id} of job {answer.job_id!r} has ended already, as {answer.status.value}: nothing was "
                "cancelled"
            )
        return answer

    async def preview_backfill(
        self, job_id: str, start: datetime, end: datetime, *, limit: int = MOST_OCCURRENCES
    ) -> Backfill:
        """What a backfill would make, and what has a run already.

        Parameters: start and end, aware instants, both inclusive; limit, the most occurrences that the range may
        hold. Raises JobNotFoundError, InvalidJobError.
        """
        return (await self._look(job_id, start, end, limit))[1]

    async def backfill(self, job_id: str, start: datetime, end: datetime, *, limit: int = MOST_OCCURRENCES) -> Backfill:
        """Add runs for the occurrences of a past range that have none; the leader executes them.

        They execute in order and one at a time, beside what the schedule fires, unless the job's overlap is
        "allow". An occurrence that is only counted in a `missed` row has no run. Asking twice makes nothing twice.

        Parameters: as `preview_backfill`. Returns what was made, and what had a run already.
        Raises JobNotFoundError, InvalidJobError, JobConflictError if the job was changed meanwhile.
        """
        job, wanted = await self._look(job_id, start, end, limit)
        made = 0
        for begin in range(0, len(wanted.to_make), BATCH):
            added = await self.storage.requests.backfill(job_id, job.version, wanted.to_make[begin : begin + BATCH])
            if added is None:
                raise JobConflictError(
                    f"job {job_id!r} was changed while its backfill was made ({made} of {len(wanted.to_make)} runs "
                    "were): look at the range again, and repeat"
                )
            made += added
        return wanted

    async def _look(self, job_id: str, start: datetime, end: datetime, limit: int) -> tuple[StoredJob, Backfill]:
        found = await self.storage.jobs.load([job_id])
        if not found:
            raise JobNotFoundError(f"there is no job {job_id!r}: `scheduler jobs list` shows those that exist")
        job = found[0]
        if isinstance(job, InvalidRow):
            raise InvalidJobError(f"the row of job {job_id!r} can't be read ({job.problem}): correct it in SQL")
        kept_from = await self.storage.requests.kept_from()
        check_range(start, end, await self.storage.jobs.now(), self.history_days, kept_from)
        start, end = start.astimezone(UTC), end.astimezone(UTC)
        instants = occurrences_in(job, start, end, limit)
        rows = await self.storage.requests.rows_between(job_id, start, end) if instants else {}
        return job, backfill(job, start, end, instants, rows)


def _not_found(run_id: UUID) -> RunNotFoundError:
    return RunNotFoundError(f"there is no run {run_id}: `scheduler runs list` shows those that exist")
