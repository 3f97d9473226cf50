"""What firing asks: claims, durable starts, outcomes, recovery, and what operators want of runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from scheduler_core.domain.jobs.limit import Limit
from scheduler_core.domain.planning.planning import Plan
from scheduler_core.domain.runs.run import Origin, Outcome, Run, RunStatus
from scheduler_core.domain.runs.ticket import Ticket
from scheduler_core.domain.value import value
from scheduler_core.ports.election import Leadership

CANCEL_REQUEST = "\x01cancel "
"""With a run_id behind it: a hint that somebody has asked for the run to be cancelled, which its row says."""


Offers = Mapping[str, int]
"""Of these jobs as many of the first fires of a plan are offered to the job's executor as they are claimed."""

NOTHING_OFFERED: Offers = {}


@value(frozen=True, slots=True)
class HeldRun:
    """An unfinished run that is offered, or that somebody has taken or begun: what names it."""

    run_id: UUID
    job_id: str
    scheduled_for: datetime


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that waits for a place, and what it is counted under."""

    run: Run
    limit: Limit


@dataclass(frozen=True, slots=True)
class Admissions:
    """What came of asking for places: who has one, which of those that asked are still this replica's, and the number
    under which the next are asked for (None: it has to be read).
    """

    admitted: frozenset[UUID]
    mine: frozenset[UUID]
    number: int | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What one look at offered runs brought."""

    now: datetime
    runs: Sequence[Run | InvalidRun]
    seen: int
    """How many might have been taken."""
    next_at: datetime | None
    """When the next one that is offered may begin."""
    alone: frozenset[UUID] = frozenset()
    """Those that begin beside no other."""


@dataclass(frozen=True, slots=True)
class InvalidRun:
    """A run's row that can't be read: somebody edited it by hand, or a newer version wrote it."""

    run_id: UUID
    job_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim won: the runs, and the jobs whose cursors moved. Plans that lost to an operator are absent."""

    runs: Sequence[Run]
    moved_job_ids: frozenset[str]
    offered: frozenset[UUID] = frozenset()
    """Those of the runs that whoever can execute them may take."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch of outcomes: those that are in neither set are durable."""

    late: frozenset[UUID] = frozenset()
    """Somebody else had taken the run over: kept as a late attempt."""
    unsettled: frozenset[UUID] = frozenset()
    """Nothing can be concluded from what the statement saw: to be recorded again."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has begun or taken runs: whether it lives, and which runs these are. None owns what is offered to any."""

    instance_id: str | None
    alive: bool
    runs: tuple[HeldRun, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """One change of a job by an operator: what it accounts for, and the job's columns after it."""

    plan: Plan
    changes: Mapping[str, Any]
    remove: bool = False
    reverts_to: int | None = None
    """The version whose definition it brings back."""


@dataclass(frozen=True, slots=True)
class RerunAnswer:
    """What came of asking for a rerun: the old run's job and status, and the new run, None if there is none."""

    job_id: str
    status: RunStatus
    job_exists: bool
    run: Run | None


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What came of asking for a cancel: the run as it stands now, and whether the request found it unfinished."""

    run_id: UUID
    job_id: str
    scheduled_for: datetime
    status: RunStatus
    """`cancelled`: it waited, and has ended; `running`: its owner is asked to end it."""
    instance_id: str | None
    changed: bool


@dataclass(frozen=True, slots=True)
class CancelledRuns:
    """Runs that somebody asked to be cancelled, and the database's time at which that was looked up."""

    now: datetime
    run_ids: tuple[UUID, ...]


class Runs(Protocol):
    """The hot path."""

    async def due(
        self, *, ahead_seconds: float, limit: int, excluding: Sequence[str], since: datetime | None = None
    ) -> DueJobs: ...

    async def claim(
        self, leadership: Leadership, plans: Sequence[Plan], *, uncallable: bool, offers: Offers = NOTHING_OFFERED
    ) -> Claimed:
        """Move cursors and insert runs in one statement. Raises NotLeaderError if the term has ended."""

    async def offer(self, leadership: Leadership, offered: Sequence[tuple[Run, str]]) -> None:
        """Let whoever executes for the executor that each run comes with take it. Raises NotLeaderError."""

    async def admissions(self) -> int:
        """The number under which runs are admitted next."""

    async def admit(self, leadership: Leadership, number: int, waiting: Sequence[WaitingRun]) -> Admissions:
        """Admit as many of these, in this order, as their limits allow. Raises NotLeaderError."""

    async def take_offered(
        self,
        instance_id: str,
        executors: Sequence[str],
        *,
        ahead_seconds: float,
        limit: int,
        takes_alone: bool,
        passed_over: Sequence[UUID],
    ) -> Taken:
        """Take what is offered and about to be due, at most `limit`; of what begins alone one at most, or none."""

    async def taken(self, instance_id: str, mine: Sequence[UUID]) -> Taken:
        """What this replica has taken and does not have: after an answer that got lost."""

    async def unfinished_among(self, held: Sequence[HeldRun]) -> frozenset[UUID]:
        """Those of these runs that have not ended."""

    async def warm_up(self) -> None:
        """Have the hot path's statements ready before this replica leads."""

    async def start(self, running: Outcome, instance_id: str) -> bool:
        """Mark a run as running, durably, before its callback is called; False if it is not ours any more.

        Asked again after a lost reply, it says the same.
        """

    async def record(self, outcomes: Sequence[Outcome], instance_id: str) -> Recorded:
        """Record a batch, at most one outcome per run."""

    async def adopt(
        self,
        leadership: Leadership,
        *,
        mine: Sequence[UUID],
        trust_seconds: float,
        limit: int,
        full: Sequence[str] = (),
    ) -> list[Run | InvalidRun]:
        """Take over runs that nobody alive has started; of the jobs in `full` no more backfilled ones for now."""

    async def reap(
        self, leadership: Leadership, dead_instances: Sequence[str], *, max_deliveries: int, limit: int
    ) -> int:
        """End the attempts of the dead: `lost`, and the run goes to whoever adopts it, or ends."""

    async def give_up_forgotten(
        self, instance_id: str, mine: Sequence[UUID], *, begun_before_seconds: float, max_deliveries: int, limit: int
    ) -> int:
        """End attempts that stand under this replica's name and that it has no more, as `reap` does the dead's."""

    async def mark_unfinished(self) -> None:
        """Find where the unfinished runs begin: looks for them begin there, and find none that is added below."""

    def unmark_unfinished(self) -> None:
        """Have looks for unfinished runs go through all of them again."""

    async def owners(self, instance_id: str) -> list[Owner]:
        """Who has runs that have not ended: others that have begun them, and whoever has taken or is offered them."""

    async def preferred_successor(self, instance_id: str, passed_over: Sequence[UUID]) -> str | None:
        """The replica that can call what a waiting run needs and `instance_id` can't.

        Parameters: passed_over, runs whose callback it has looked for in vain.
        """

    async def successor_for_zones(self, instance_id: str, zones: Sequence[str]) -> str | None:
        """The replica that knows a time zone that a due job needs, of these, which `instance_id` does not know."""

    async def trigger(
        self, job_id: str, origin: Origin, run_id: UUID | None = None, at: datetime | None = None
    ) -> Run | None:
        """Add a run for now, under this id if one is given; None if there is no such job.

        Parameters: at, what now is, where the database's clock does not say it.
        """

    async def take(self, ticket: Ticket, instance_id: str) -> Run | None:
        """Take an attempt for a worker, durably, before its callback is called; None if there is none."""

    async def take_back(self, ticket: Ticket, instance_id: str, dead_instance: str | None) -> RunStatus | None:
        """Have the run of a ticket again, from a worker that is dead or never took it; returns where it stood."""


class OfferListener(Protocol):
    """Who hears of offers."""

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever runs are offered, until the connection ends. Raises ServerUnreachableError."""


class Requests(Protocol):
    """What operators ask of runs, and of the leader."""

    async def rerun(self, run_id: UUID, new_id: UUID | None = None, at: datetime | None = None) -> RerunAnswer | None:
        """Add a run for now that repeats a finished one; None if there is no such run. `at` as for `trigger`."""

    async def cancel(self, run_id: UUID, by: str) -> CancelAnswer | None:
        """End a waiting run, ask for a running one to be ended; None if there is no such run."""

    async def cancelled_since(self, since: datetime | None, instance_id: str) -> CancelledRuns:
        """The runs of a replica that somebody asked to be cancelled since then."""

    async def cancelled_among(self, run_ids: Collection[UUID]) -> Sequence[UUID]:
        """Those of these runs that somebody asked to be cancelled."""

    async def ask_to_resign(self, term: int, by: str) -> bool:
        """Ask whoever leads in this term to resign; False if the term has ended."""

    async def asked_to_resign(self, term: int) -> str | None:
        """Who asked the leader of this term to resign; None if nobody did."""

    async def rows_between(self, job_id: str, start: datetime, end: datetime) -> dict[datetime, str]:
        """The job's rows in [start, end] by their instant, with their status."""

    async def kept_from(self) -> datetime | None:
        """The first instant whose runs were not dropped; None if none ever were."""

    async def backfill(self, job_id: str, version: int, instants: Sequence[datetime]) -> int | None:
        """Add runs for these occurrences where they have none; None if the job has changed."""


@value(frozen=True, slots=True)
class DueJob:
    """A job whose cursor is due, as little of it as planning needs to look the rest up."""

    job_id: str
    version: int
    next_run: datetime | None
    """None: one that can't be read."""


@dataclass(frozen=True, slots=True)
class DueJobs:
    """The answer to "what is due?": the database's time, the jobs, and when to ask again."""

    now: datetime
    jobs: Sequence[DueJob]
    next_due_at: datetime | None
    calendars_revision: str = ""
    """Differs after any change of any calendar: jobs that name calendars are then read again."""
    earliest_due_at: datetime | None = None
    """When the first of the jobs was due; None: there is none."""


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A job's row that can't be read: somebody edited it by hand, or a newer version wrote it."""

    job_id: str
    version: int
    problem: str
    unknown_zone: str | None = None
    """The job's time zone, where the zone data of this process lacks it: another replica's may have it."""
