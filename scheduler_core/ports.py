"""What the engine asks of the world, as protocols. `storage` answers; tests and users may answer otherwise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from scheduler_core.domain.abilities import Abilities
from scheduler_core.domain.actor import Actor
from scheduler_core.domain.alarm import Changes, Facts
from scheduler_core.domain.calendars import Calendar
from scheduler_core.domain.clock import ClockState, Evidence, Reading
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.job import JobDefinition, JobStatus
from scheduler_core.domain.planning import Plan, StoredJob
from scheduler_core.domain.run import LoggerLike, Origin, Outcome, Run, RunStatus
from scheduler_core.domain.table_family import TableFamily
from scheduler_core.domain.table_steps import Planning
from scheduler_core.domain.ticket import Ticket, Told
from scheduler_core.domain.value import value
from scheduler_core.domain.webhook import Verdict

RESIGN_REQUEST = "\x01resign "
"""With a term behind it: a hint that somebody has asked whoever leads in that term to resign. Anybody may send it:
whether it was asked for, and by whom, stands in the row of the term. No job_id looks like it: those are printable.
"""

CANCEL_REQUEST = "\x01cancel "
"""With a run_id behind it: a hint that somebody has asked for the run to be cancelled, which its row says."""


@dataclass(frozen=True, slots=True)
class LeaseName:
    """Which lease: of which scheduler, on which server.

    `scheduler` names the database, the schema and the installation; a copy of the database bears the same name.
    `server` names one start of the Postgres server, and so tells the copy from what it was copied from.
    """

    scheduler: str
    server: str


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What the lease in Redis says at one moment. Anybody may have written there: nothing of it need make sense."""

    token: str
    instance_id: str
    term: int
    beat: int
    """Moves with each sign of life of its holder."""
    remaining_seconds: float | None
    """None: it never ends by itself."""
    age_seconds: float | None
    """Since its last sign of life, by Redis's clock; None: it does not say."""


@dataclass(frozen=True, slots=True)
class LeaseElsewhere:
    """A lease on another copy of this scheduler's database, alive on the same Redis."""

    server: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class LeaderRow:
    """The leader's row in Postgres: the last claim's number and fresh name."""

    term: int
    nonce: str | None
    instance_id: str | None
    witnessed: bool
    preferred_successor: str | None = None
    """In whose favour the last leader resigned."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """ "I lead": a value that only a successful claim returns. Every write that schedules carries it."""

    term: int
    nonce: str
    instance_id: str


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


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch of outcomes: those that are in neither set are durable."""

    late: frozenset[UUID] = frozenset()
    """Somebody else had taken the run over: kept as a late attempt."""
    unsettled: frozenset[UUID] = frozenset()
    """Nothing can be concluded from what the statement saw: to be recorded again."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A replica that has begun runs: whether it lives, and the jobs that these are of."""

    instance_id: str
    alive: bool
    job_ids: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Instance:
    """This process as the other replicas see it."""

    instance_id: str
    instance_name: str
    host: str
    pid: int
    version: str
    eligible: bool
    abilities: Abilities = field(default=Abilities())


@dataclass(frozen=True, slots=True)
class Declared:
    """What became of jobs that code declares: those that were added, and the ids of those in whose place something else
    stands, an operator's revert included. The others stand there as they are.
    """

    added: Sequence[StoredJob]
    changed: Sequence[str]


class Jobs(Protocol):
    """Definitions and cursors."""

    async def declare(self, jobs: Iterable[StoredJob], instance_id: str, actor: Actor) -> Declared:
        """Insert the jobs that are not there yet."""

    async def load(self, job_ids: Iterable[str]) -> list[StoredJob | InvalidRow]: ...

    async def settle(self, settlement: Settlement, actor: Actor, at: datetime) -> bool:
        """Account (up to `at`) and change in one statement; False if the job has moved or changed since it was read."""

    async def definition_at(self, job_id: str, version: int) -> JobDefinition | None:
        """What the job's definition was from this version on; None if there is no such version."""

    async def states(self, job_ids: Iterable[str] | None) -> list[JobStatus]: ...

    async def announce(self, instance_id: str, abilities: Abilities) -> None:
        """Say what this replica can call, so that a leader that can't may hand over to it."""

    async def now(self) -> datetime: ...


class Runs(Protocol):
    """The hot path."""

    async def due(
        self, *, ahead_seconds: float, limit: int, excluding: Sequence[str], since: datetime | None = None
    ) -> DueJobs: ...

    async def claim(self, leadership: Leadership, plans: Sequence[Plan], *, uncallable: bool) -> Claimed:
        """Move cursors and insert runs in one statement. Raises NotLeaderError if the term has ended."""

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

    async def owners(self) -> list[Owner]:
        """The instances that have begun runs that have not ended."""

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


class Executor(Protocol):
    """Has attempts made elsewhere: in processes of this machine, on a cluster.

    A plug-in is a callable under the entry point group `scheduler_core.executors`, by the name that jobs give as
    `executor`; it is called with an `ExecutorContext` and returns such an object. Whatever it does with a ticket, a
    `Worker` at the other end takes the attempt in Postgres, makes it and records how it ended.
    """

    async def start(self) -> None:
        """Have workers ready; harmless if they are."""

    async def execute(self, ticket: Ticket) -> Told | None:
        """Deliver a ticket; returns what the worker told, None if it found nothing to take.

        Raises WorkerDiedError, ExecutorError. Cancelled: the worker goes on, and nobody waits for it.
        """

    async def stop(self) -> None:
        """Deliver nothing more. What workers have begun they end by themselves."""


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


@dataclass(frozen=True, slots=True)
class StoredCalendar:
    """A calendar as the database holds it."""

    calendar: Calendar
    version: int


@dataclass(frozen=True, slots=True)
class RemovedCalendar:
    """What became of a calendar that was to be removed: it goes only if it existed and no job names it."""

    existed: bool
    job_count: int
    job_ids: tuple[str, ...]
    """The first few."""


class Calendars(Protocol):
    """Named calendars."""

    async def revision(self) -> str:
        """Differs after any change of any calendar."""

    async def load(self, names: Iterable[str] | None = None) -> Mapping[str, StoredCalendar]:
        """The calendars of these names (None: all), by name, as far as they exist and can be read."""

    async def save(self, calendar: Calendar, *, version: int | None, actor: Actor) -> bool:
        """Store it in place of that version (0: a new one, None: whatever is there); False if nothing changed."""

    async def remove(self, name: str, actor: Actor) -> RemovedCalendar: ...

    async def listed(self, names: Sequence[str] | None = None, *, limit: int = 1_000) -> list[dict[str, Any]]: ...


class SessionListener(Protocol):
    """Who is told what comes over a control session, in the loop that it was opened in."""

    def nudged(self, message: str) -> None:
        """Somebody says that something has changed: a job_id, "" for any, or a hint to a request."""

    def session_lost(self) -> None:
        """The connection has ended, whoever ended it."""


@dataclass(frozen=True, slots=True)
class ReplicaTime:
    """What a replica knows of time: its machine's start, how far the database's clock is ahead of the machine's, the
    release of its time zone data, and the zones in it.
    """

    boot: str
    clock_ahead_seconds: float
    zone_release: str
    zones: frozenset[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClockView:
    """The database's time, what is stored of its clock, and what this replica has published: boot, how far the
    database's clock is ahead, release of the zone data (each None where it has not).
    """

    now: datetime
    state: ClockState
    published: tuple[str | None, float | None, str | None] = (None, None, None)


@dataclass(frozen=True, slots=True)
class Agreement:
    """An operator's: the time that was agreed to, and the hold that it ended, if there was one."""

    database_at: datetime
    hold_id: int | None


class DatabaseTime(Protocol):
    """The database's clock, and what is stored of it."""

    async def now(self) -> datetime: ...

    async def read(self, instance_id: str = "") -> ClockView: ...

    async def others_ahead_seconds(self, instance_id: str) -> Mapping[str, float]:
        """By machine start, how far the database's clock is ahead of the other machines' whose replicas live."""

    async def accept(self, leadership: Leadership, version: int, reading: Reading) -> bool:
        """Planning goes by this reading; returns whether that ended a hold."""

    async def hold(
        self, leadership: Leadership, version: int, reading: Reading, expected_at: datetime, evidence: Evidence
    ) -> bool:
        """Planning stops at this reading; False where nothing was stored."""

    async def publish(self, instance_id: str, time: ReplicaTime) -> None: ...


class ControlSession(Protocol):
    """One direct session to Postgres: the witnesses are held on it, and die with it."""

    async def open(self, instance: Instance, listener: SessionListener) -> datetime:
        """Connect, take the life witness, register the replica; returns the database's time."""

    @property
    def is_open(self) -> bool: ...

    @property
    def witnesses_work(self) -> bool:
        """False behind a transaction pooler: then only the lease's TTL tells of a death."""

    @property
    def lease_name(self) -> LeaseName:
        """Of the server that this session is with; once it has been opened."""

    async def leader(self) -> LeaderRow: ...

    async def await_fall(self, row: LeaderRow, wait_seconds: float) -> bool:
        """True once the leader's witness is gone; False if it is still held after `wait_seconds`."""

    async def uptime_seconds(self) -> float: ...

    async def claim(
        self, row: LeaderRow, nonce: str, *, reason: str, silent_seconds: float, proposed_term: int
    ) -> Leadership | None: ...

    async def seen(self) -> None:
        """A sign of life for people, given now and then; never waits for a lock."""

    async def last_seen_seconds(self, instance_id: str) -> float | None:
        """How long ago a replica gave its last one; None: nobody knows."""

    async def mark_running(self, running: Sequence[Outcome]) -> None:
        """Say of runs that were begun here that they were, so that nobody takes them from an owner that lives."""

    async def depart(self) -> None: ...

    async def confirm(self, leadership: Leadership) -> bool:
        """Whether the term still stands. Raises ServerUnreachableError also for a session that can only read."""

    async def reseat(self, leadership: Leadership, nonce: str) -> Leadership | None:
        """Sit down again on the same term with a fresh witness, after the session was lost."""

    async def resign(self, leadership: Leadership, reason: str, preferred_successor: str | None = None) -> None: ...

    async def close(self) -> None: ...

    def abandon(self) -> None:
        """Close the socket at once, without a word: in a forked child it must not keep the witness alive."""


class Lease(Protocol):
    """The leader's lease in Redis."""

    def go_by(self, name: LeaseName) -> None:
        """Which lease is meant from now on."""

    async def take(
        self,
        token: str,
        ttl_seconds: float,
        instance_id: str,
        *,
        dead_token: str | None,
        term: int,
        is_new: bool,
        beat: int = 0,
    ) -> int:
        """Take it, if it is free, ours or the dead leader's; returns the term that it carries then, or 0."""

    async def renew(self, token: str, ttl_seconds: float, term: int, beat: int) -> bool | None: ...

    async def release(self, token: str) -> bool: ...

    async def read(self) -> LeaseView | None: ...

    async def elsewhere(self) -> Sequence[LeaseElsewhere]:
        """The living leases of other copies of this database."""

    async def close(self) -> None: ...


class Locks(Protocol):
    """A distributed lock service: ours, or any object of the user's with these three methods."""

    async def acquire(self, key: str, ttl: float) -> Any: ...

    async def renew(self, key: str, token: Any, ttl: float) -> Any: ...

    async def release(self, key: str, token: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class TableWork:
    """What became of a plan: the tables that were changed, those that failed, and what went wrong, in words and as
    errors.
    """

    changed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    errors: tuple[SchedulerError, ...] = ()


class Tables(Protocol):
    """Daily tables, monthly summaries, and the scheduler's own history as the first families."""

    history: Sequence[TableFamily]

    async def today(self) -> date: ...

    async def create_history(self, today: date) -> Sequence[str]:
        """Have the history's partitions ahead, whatever stands in their way."""

    async def carry_out(self, family: TableFamily, planning: Planning) -> TableWork:
        """Carry out what is planned from what the catalog shows, each step for itself."""

    async def rehearse(self, family: TableFamily, planning: Planning) -> tuple[str, Sequence[str]]:
        """The statements of what is planned, and the problems; changes nothing."""

    async def remember(self, family: TableFamily) -> None:
        """Have the family in the database, so that its tables are missed when they run short."""

    async def troubles(self, registered: Iterable[TableFamily] = ()) -> Sequence[Mapping[str, str]]:
        """What a person should look at, in the database and among the families that this process has registered."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Everything that a scheduler keeps outside of its process."""

    jobs: Jobs
    runs: Runs
    requests: Requests
    calendars: Calendars
    clock: DatabaseTime
    open_control: Callable[[], ControlSession]
    open_lease: Callable[[], Lease | None]
    """Called in the keeper's thread: clients belong to the event loop that made them."""
    maintain: Callable[[], Coroutine[Any, Any, None]]
    """Have tomorrow's partitions, drop those past their time; the leader asks for it now and then."""


@dataclass(frozen=True, slots=True)
class ExecutorContext:
    """What an executor is made from."""

    settings: Mapping[str, Any]
    """The settings of this replica, URLs included, as `load_settings` takes them: for workers that it starts itself."""
    instance_name: str
    abilities: Callable[[], Abilities]
    """What this replica can call, and so its workers may."""
    logger: LoggerLike


@dataclass(frozen=True, slots=True)
class Look:
    """One look at alarms: what it found, and what belongs to storing what follows."""

    facts: Facts
    version: int
    term: int
    """The last term among what it found."""
    failure_ids: Sequence[int]
    has_more: bool
    """Whether more has failed than one look takes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of what followed from a look."""

    applied: bool
    """False: another replica was faster, and nothing was changed."""
    queued: int = 0
    dropped: int = 0
    """Notifications for which the outbox had no room."""


@dataclass(frozen=True, slots=True)
class Message:
    """A notification that this replica is to deliver."""

    notification_id: int
    message_id: UUID
    event: str
    body: Mapping[str, Any]
    attempts: int
    """With the one that is to be made now."""
    age: timedelta


class Alarms(Protocol):
    """What is wrong with which job."""

    async def look(self, *, overdue_seconds: float, fresh_seconds: float) -> Look | None:
        """What there is to decide on; None where somebody has looked within `fresh_seconds`."""

    async def store(self, look: Look, changes: Changes) -> Stored:
        """Store what follows from a look, all of it or nothing."""

    async def forget_old(self) -> None: ...


class Notifications(Protocol):
    """The outbox."""

    async def claim(self, *, lease_seconds: float) -> Message | None: ...

    async def settle(self, message: Message, verdict: Verdict, error: str | None) -> bool: ...

    async def tidy(self) -> int: ...
