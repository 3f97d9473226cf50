"""Jobs in memory: definitions that have been read and are good for as long as their version stands.

What is due comes with its version, and so does each run: memory is never trusted for more than sparing a read. A row
that can't be read is left alone until it is put right, and looked at again once a second; it never keeps the others
waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import pairwise

from scheduler_core.domain.errors import UnreadableJobError
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import LoggerLike, Run
from scheduler_core.domain.runs.words import NO_TIMEZONE, UNREADABLE
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.ports.runs import DueJob, InvalidRow
from scheduler_core.ports.storage import Storage
from scheduler_core.runtime.task_ends import end_tasks

MOST_CACHED = 50_000
"""Some 2 kB each: what is due seldom is read again each time."""

LOOK_AGAIN_SECONDS = 1.0
"""An edit by hand tells nobody, and one of a cursor raises no version: only looking shows that a row is right again."""

ZONES_SEEN_SECONDS = 10.0
"""A job whose time zone is unknown here is looked at more often than this for as long as it is due."""


class JobCache:
    """The definitions that this replica has read.

    Parameters: storage, where they are read; logger.
    """

    def __init__(self, storage: Storage, logger: LoggerLike, machine: MachineClock = SYSTEM_CLOCK) -> None:
        self._storage = storage
        self._logger = logger
        self._monotonic = machine.monotonic
        self._jobs: OrderedDict[str, StoredJob] = OrderedDict()
        self._stale: set[str] = set()
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._unreadable: dict[str, tuple[int, float]] = {}
        """By job_id: the version that was reported, and when it was looked at last."""
        self._unknown_zones: dict[str, str] = {}
        """By job_id: the time zone that this process's data lacks."""
        self._without_calendar: set[str] = set()
        self._calendars_revision = ""

    @property
    def unreadable(self) -> Iterable[str]:
        """Ids of the rows that can't be read, as was seen just now."""
        since = self._monotonic() - LOOK_AGAIN_SECONDS
        return [job_id for job_id, (_, looked_at) in self._unreadable.items() if looked_at > since]

    @property
    def unknown_zones(self) -> Sequence[str]:
        """Time zones that due jobs are in and that this process's data lacks, as was seen lately."""
        since = self._monotonic() - ZONES_SEEN_SECONDS
        return sorted({zone for job_id, zone in self._unknown_zones.items() if self._unreadable[job_id][1] > since})

    async def read_calendars_revision(self) -> None:
        """Begin with the calendars as they are now."""
        self._calendars_revision = await self._storage.calendars.revision()

    async def look_up(self, due: Sequence[DueJob], batch: int) -> AsyncGenerator[list[StoredJob]]:
        """The due jobs with their cursors, `batch` at a time; definitions come from memory unless their version has
        moved.

        While the caller is at some, what the next ones lack is read, and nothing beyond. To be closed (`aclosing`):
        then nothing is under way any more.
        """
        if missing := self._missing(due[:batch]):
            await self.load(missing)
        batches = [due[begin : begin + batch] for begin in range(0, len(due), batch)]
        reading: asyncio.Task[None] | None = None
        try:
            for these, following in pairwise([*batches, ()]):
                if reading is not None:
                    await reading
                    reading = None
                found = self._recall(these)
                if missing := self._missing(following):
                    reading = asyncio.create_task(self.load(missing), name="scheduler reads jobs")
                    # The statement is on its way before the caller goes on.
                    await asyncio.sleep(0)
                yield found
        finally:
            if reading is not None:
                await end_tasks(reading)

    def _missing(self, due: Sequence[DueJob]) -> list[str]:
        jobs = self._jobs
        return [
            job.job_id
            for job in due
            if (known := jobs.get(job.job_id)) is None or known.version != job.version or job.next_run is None
        ]

    def _recall(self, due: Sequence[DueJob]) -> list[StoredJob]:
        jobs = self._jobs
        return [
            found.at(job.next_run)
            for job in due
            if job.next_run is not None and (found := jobs.get(job.job_id)) is not None and found.version == job.version
        ]

    def put(self, jobs: Sequence[StoredJob]) -> None:
        """These were just stored, so they need not be read."""
        for job in jobs[:MOST_CACHED]:
            # What names calendars is read with them.
            if not job.definition.calendars:
                self._jobs[job.job_id] = job
        self._drop_oldest()

    def get(self, job_id: str, version: int = 0) -> StoredJob | None:
        """A job that can be trusted to be as the database has it; None where `find` must be asked.

        Parameters: version, that somebody has seen: an older one is of no use.
        """
        if job_id in self._stale or job_id in self._loading:
            return None
        job = self._jobs.get(job_id)
        return None if job is None or job.version < version else job

    async def find(self, job_id: str, version: int = 0) -> StoredJob | None:
        """A job, read if need be; None if it was removed. Parameters: as for `get`.

        Raises UnreadableJobError if its row can't be read.
        """
        loading = self._loading.get(job_id)
        if loading is None and self.get(job_id, version) is None:
            self._stale.discard(job_id)
            loading = asyncio.ensure_future(self.load([job_id]))
            self._loading[job_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(job_id, None))
        if loading is not None:
            # One load for all who wait for it, and they go on in the order in which they came.
            await asyncio.shield(loading)
        if job_id not in self._jobs and job_id in self._unreadable:
            zone = self._unknown_zones.get(job_id)
            raise UnreadableJobError(
                f"the row of job {job_id!r} can't be read here"
                + ("" if zone is None else f": its time zone {zone!r} is not in the data of this replica"),
                NO_TIMEZONE if zone is not None else UNREADABLE,
            )
        return self._jobs.get(job_id)

    async def have_ready(self, runs: Iterable[Run]) -> None:
        """Read the jobs of these runs that are not known, all together: one by one they would cost each run a wait."""
        missing = {run.job_id for run in runs if self.get(run.job_id, run.definition_version) is None}
        if missing:
            self._stale -= missing
            await self.load(sorted(missing))

    async def load(self, job_ids: Sequence[str]) -> None:
        """Read these jobs."""
        revision = None
        while revision != self._calendars_revision:
            # A calendar that changes while its jobs are under way must not be remembered as it was.
            revision = self._calendars_revision
            loaded = await self._storage.jobs.load(job_ids)
        for gone in set(job_ids).difference(job.job_id for job in loaded):
            self._jobs.pop(gone, None)
            self._forget_problem(gone)
        for job in loaded:
            if isinstance(job, InvalidRow):
                self._jobs.pop(job.job_id, None)
                self.quarantine(job)
            else:
                self._forget_problem(job.job_id)
                self._jobs[job.job_id] = job
                self._jobs.move_to_end(job.job_id)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._jobs) > MOST_CACHED:
            self._jobs.popitem(last=False)

    def quarantine(self, row: InvalidRow) -> None:
        """Nothing can be done with this row for now; it is said once."""
        reported, _ = self._unreadable.get(row.job_id, (None, 0.0))
        self._unreadable[row.job_id] = (row.version, self._monotonic())
        if row.unknown_zone is not None:
            self._unknown_zones[row.job_id] = row.unknown_zone
        if reported != row.version:
            elsewhere = "" if row.unknown_zone is None else "; a replica whose zone data have it can take over"
            self._logger.error(
                "the row of job %r can't be read and is left alone until it changes: %s%s",
                row.job_id,
                row.problem,
                elsewhere,
            )

    def report_missing_calendars(self, job: StoredJob) -> None:
        """Say, once, that a job waits for calendars."""
        if job.job_id not in self._without_calendar:
            self._without_calendar.add(job.job_id)
            self._logger.error(
                "job %r waits: its calendars %s are missing or can't be read; `scheduler calendars add` creates one",
                job.job_id,
                ", ".join(map(repr, job.missing_calendars)),
            )

    def observe_calendars(self, revision: str) -> None:
        """If a calendar has changed, jobs that name any are read again, before anything of theirs is planned."""
        if revision == self._calendars_revision:
            return
        self._calendars_revision = revision
        self._without_calendar.clear()
        for job_id in [job_id for job_id, job in self._jobs.items() if job.definition.calendars]:
            del self._jobs[job_id]

    def evict(self, job_id: str) -> None:
        """The job has moved under us: read it again before anything of it is planned."""
        self._jobs.pop(job_id, None)

    def invalidate(self, job_id: str) -> None:
        """Somebody has changed the job: read it again before anything of it is planned or begun."""
        self._stale.add(job_id)
        self._without_calendar.discard(job_id)
        self._jobs.pop(job_id, None)
        self._forget_problem(job_id)

    def _forget_problem(self, job_id: str) -> None:
        self._unreadable.pop(job_id, None)
        self._unknown_zones.pop(job_id, None)
