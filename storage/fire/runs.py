"""The tables `runs` and `attempts`, and the cursors that claims move: the hot path's store.

    claims      what is due, and the claim
    handing     attempts that workers make
    outcomes    what happened
    takeovers   what the dead left behind

Their statements work on batches, in arrays. Each is one statement, and so one transaction, and names `scheduled_for`,
so that only the partitions concerned are read. All of them lock rows in one order, or claim and outcome would deadlock
(measured: six times in six seconds): runs that exist, then jobs, both in job_id order by code point, then runs that are
new. (A claim of an occurrence that has a run already, because somebody set a cursor back by hand, may wait for that run
out of turn. Should its outcome wait for the job at that moment, Postgres ends one of the two, and it is done again.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from scheduler_core.domain.errors import (
    JobConflictError,
    NotLeaderError,
    RefusedForNowError,
    ServerUnreachableError,
)
from scheduler_core.domain.planning.planning import Plan
from scheduler_core.domain.planning.segments import TICK
from scheduler_core.domain.runs.run import Origin, Outcome, Run, RunStatus
from scheduler_core.domain.runs.ticket import Ticket
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import (
    NOTHING_OFFERED,
    Admissions,
    Claimed,
    DueJob,
    DueJobs,
    HeldRun,
    InvalidRun,
    Offers,
    Owner,
    Recorded,
    Taken,
    WaitingRun,
)
from scheduler_core.storage.fire.admissions import ADMISSIONS, ADMIT, admit_parameters
from scheduler_core.storage.fire.claims import CLAIM, CLAIMED, DUE, claim_parameters, runs_of
from scheduler_core.storage.fire.handing import TAKE, TAKE_BACK, ticket_parameters
from scheduler_core.storage.fire.offers import (
    OFFER,
    TAKE_OFFERED,
    TAKEN,
    UNFINISHED_AMONG,
    held_parameters,
    offer_parameters,
    take_parameters,
)
from scheduler_core.storage.fire.outcomes import RECORD, START, record_parameters, start_parameters
from scheduler_core.storage.fire.takeovers import (
    ADOPT,
    EARLIEST_UNFINISHED,
    FIRST_OF_ALL,
    GIVE_UP_FORGOTTEN,
    OWNERS,
    PREFERRED_SUCCESSOR,
    REAP,
    SUCCESSOR_FOR_ZONES,
    adopt_parameters,
    adopted_run,
)
from scheduler_core.storage.jobs.definitions import LOAD
from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.storage.postgres.errors import MissingPartitionError
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL, first_run_id, new_run_id
from scheduler_core.storage.postgres.partitions import Partitions
from scheduler_core.storage.postgres.row_places import RowPlaces

# Somebody who asks twice gets two runs: where the instant is taken (another trigger, a fire in the very same
# microsecond) nothing is added, and the caller asks again.
TRIGGER = f"""
WITH job AS (
    SELECT job_id, name, version FROM {{schema}}.jobs WHERE job_id = :job_id
), added AS (
    INSERT INTO {{schema}}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status,
                                 definition_version)
    SELECT :run_id, job_id, name, moment.now, moment.now, :origin, 'pending', version
    FROM job, (SELECT coalesce(CAST(:at AS timestamptz), clock_timestamp()) AS now) AS moment
    ON CONFLICT (job_id, scheduled_for) DO NOTHING
    RETURNING run_id, scheduled_for, definition_version
), nudged AS (
    SELECT pg_notify('{NUDGE_CHANNEL}', :schema || ':') FROM added
)
SELECT added.run_id, added.scheduled_for, added.definition_version, (SELECT count(*) FROM nudged) AS nudged
FROM job LEFT JOIN added ON true
"""

MAX_TRIES = 100
"""Runs of one job that somebody asks for at one instant."""

HOT_PATH_SETTINGS = {
    # Planning one of these statements costs more than running it for a few rows (1.1 ms, measured with 60 partitions).
    "plan_cache_mode": "force_generic_plan",
    # So the plan is made once, perhaps while today's partition is empty, and must be right when it is full: by key, row
    # by row, whatever the statistics say. The statements hold sets that belong together as hashed sub-plans.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Nor may what a batch is compared with be read once and gone through for each row of it.
    "enable_material": "off",
    "jit": "off",
}
"""Of the sessions that the engine uses; reports have their own."""

MAX_INSTANCE_SILENCE_SECONDS = 30.0

UNMARKED_SECONDS = 5.0
"""Of the latest runs none is below the mark: a new one's id is of its instant, by the clock of whoever made it."""

WARM_CONNECTIONS = 3
"""The loop, recovery and the recorder each have a statement under way when a term begins."""


class RunStore:
    """The tables `runs` and `attempts`, and the cursors that claims move.

    Parameters: timeout_seconds, when the answer to a statement of the hot path is given up.
    """

    def __init__(self, database: Database, partitions: Partitions, *, timeout_seconds: float) -> None:
        self._database = database
        self._partitions = partitions
        self._timeout_seconds = timeout_seconds
        self._places = RowPlaces()
        self._unfinished_since = FIRST_OF_ALL

    @property
    def _walks_the_dead(self) -> bool:
        """Whether looks that begin at the beginning are dear: only then a place is worth what it costs to remember."""
        return self._unfinished_since != FIRST_OF_ALL

    async def due(
        self, *, ahead_seconds: float, limit: int, excluding: Sequence[str], since: datetime | None = None
    ) -> DueJobs:
        """The jobs that are due within `ahead_seconds`, at most `limit`, earliest first, and none due before `since`.

        `at_most_once` jobs are due at their instant and not ahead of it.
        """
        rows = await self._fetch(
            DUE, {"ahead": ahead_seconds, "limit": limit, "excluding": list(excluding), "since": since}
        )
        (row,) = rows
        if self._walks_the_dead:
            self._places.remember(row.job_ids or (), row.places or ())
        jobs = list(map(DueJob, row.job_ids or (), row.versions or (), row.cursors or ()))
        return DueJobs(row.now, jobs, row.next_due_at, row.calendars_revision, row.earliest_due_at)

    async def claim(
        self, leadership: Leadership, plans: Sequence[Plan], *, uncallable: bool, offers: Offers = NOTHING_OFFERED
    ) -> Claimed:
        """Move the plans' cursors and insert their runs, in one fenced statement.

        Parameters: uncallable, insert the fires as `pending / no_callback` without an owner, because this
        replica can't call them; offers, how many fires of which jobs are anybody's to take. Raises NotLeaderError if
        the term has ended; then nothing was changed.
        """
        plans = sorted(plans, key=lambda plan: plan.job.definition.job_id)
        fires = [runs_of(plan, leadership) for plan in plans]
        places = self._places.take([plan.job.definition.job_id for plan in plans])
        parameters = claim_parameters(
            leadership, plans, fires, uncallable, places, offers=offers, schema=self._database.schema
        )
        try:
            row = await self._with_partitions(CLAIM, parameters)
        except RefusedForNowError:
            raise  # nothing was written, and nothing is to be read
        except ServerUnreachableError:
            # A reply that got lost is not an answer: what the claim won is read again. Where it can't be, or the
            # server is still at it, `adopt` finds the runs later.
            row = await self._with_partitions(CLAIMED, parameters | {"instance_id": leadership.instance_id})
        if row is None or row.term is None:
            raise NotLeaderError(f"term {leadership.term} has ended: another replica leads; nothing was claimed")
        if self._walks_the_dead and row.places is not None:
            self._places.remember(parameters["job_ids"], row.places)
        runs = list(chain.from_iterable(fires))
        if row.fired is not None:
            won = set(row.fired)
            runs = [run for run in runs if run.run_id in won]
        return Claimed(
            runs, frozenset(row.moved if row.moved is not None else parameters["job_ids"]), _offered(fires, offers)
        )

    async def offer(self, leadership: Leadership, offered: Sequence[tuple[Run, str]]) -> None:
        """Let whoever executes for the executor that each run comes with take it, in one fenced statement.

        Raises NotLeaderError if the term has ended; then nothing was changed.
        """
        (row,) = await self._fetch(OFFER, offer_parameters(leadership, offered, self._database.schema))
        if row.term is None:
            raise NotLeaderError(f"term {leadership.term} has ended: another replica leads; nothing was offered")

    async def admissions(self) -> int:
        """The number under which runs are admitted next."""
        (row,) = await self._fetch(ADMISSIONS, {})
        return int(row.number)

    async def admit(self, leadership: Leadership, number: int, waiting: Sequence[WaitingRun]) -> Admissions:
        """Admit as many of these, in this order, as their limits allow.

        Parameters: number, as the last answer said, or `admissions`; another admits nothing. After an error nobody
        knows what was admitted: asked again, the answer tells. Raises NotLeaderError if the term has ended.
        """
        (row,) = await self._fetch(ADMIT, admit_parameters(leadership, number, waiting))
        if row.term is None:
            raise NotLeaderError(f"term {leadership.term} has ended: another replica leads; nothing was admitted")
        return Admissions(frozenset(row.admitted), frozenset(row.mine), row.number)

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
        """Take what is offered and due within `ahead_seconds`, earliest first, at most `limit`.

        Parameters: takes_alone, whether one may be among them that begins beside no other; passed_over, runs that are
        left alone. After an error nobody knows what was taken: `taken` says.
        """
        parameters = take_parameters(
            instance_id,
            executors,
            ahead_seconds=ahead_seconds,
            limit=limit,
            takes_alone=takes_alone,
            passed_over=passed_over,
        )
        return _taken(await self._fetch(TAKE_OFFERED, parameters))

    async def taken(self, instance_id: str, mine: Sequence[UUID]) -> Taken:
        """What this replica has taken and does not have in its hands."""
        return _taken(await self._fetch(TAKEN, {"instance_id": instance_id, "mine": list(mine)}))

    async def unfinished_among(self, held: Sequence[HeldRun]) -> frozenset[UUID]:
        """Those of these runs that have not ended."""
        return frozenset(row.run_id for row in await self._fetch(UNFINISHED_AMONG, held_parameters(held)))

    async def warm_up(self) -> None:
        """Run each statement of the hot path once, on nothing, on as many connections as a takeover uses at once.

        Parsed, prepared and planned by then, they cost a new leader's first fire tens of milliseconds less.
        """
        nobody = Leadership(-1, "", "")
        statements: Sequence[tuple[str, Mapping[str, Any]]] = (
            (DUE, {"ahead": 0.0, "limit": 0, "excluding": [], "since": None}),
            (CLAIM, claim_parameters(nobody, (), (), False)),
            (ADOPT, adopt_parameters(nobody, (), 0.0, 0.0, 0, ())),
            (OWNERS, {"instance_id": "", "since": FIRST_OF_ALL}),
            (
                PREFERRED_SUCCESSOR,
                {
                    "instance_id": "",
                    "silence": MAX_INSTANCE_SILENCE_SECONDS,
                    "passed_over": [],
                    "since": FIRST_OF_ALL,
                },
            ),
            (LOAD, {"job_ids": []}),
            (RECORD, {**record_parameters(()), "instance_id": ""}),
            (UNFINISHED_AMONG, held_parameters(())),
            (
                TAKE_OFFERED,
                take_parameters("", (), ahead_seconds=0.0, limit=0, takes_alone=False, passed_over=()),
            ),
        )

        async def once() -> None:
            for statement, parameters in statements:
                await self._database.fetch(statement, parameters)

        await asyncio.gather(*(once() for _ in range(WARM_CONNECTIONS)))

    async def start(self, running: Outcome, instance_id: str) -> bool:
        """Mark a run `running` before its callback is called; False if it is not ours any more.

        Asked again after a lost reply, it says the same.
        """
        return bool(await self._fetch(START, start_parameters(running, instance_id)))

    async def record(self, outcomes: Sequence[Outcome], instance_id: str) -> Recorded:
        """Record a batch, at most one outcome per run; returns what was not taken as it is."""
        if not outcomes:
            return Recorded()
        outcomes = sorted(outcomes, key=lambda outcome: outcome.run.job_id)
        places = self._places.take([outcome.run.job_id for outcome in outcomes])
        parameters = {**record_parameters(outcomes, places), "instance_id": instance_id}
        try:
            rows = await self._fetch(RECORD, parameters)
        except MissingPartitionError:
            await self._partitions.ensure(outcome.run.scheduled_for for outcome in outcomes)
            rows = await self._fetch(RECORD, parameters)
        return Recorded(
            late=frozenset(row.run_id for row in rows if row.is_late),
            unsettled=frozenset(row.run_id for row in rows if not row.is_late),
        )

    async def adopt(
        self,
        leadership: Leadership,
        *,
        mine: Sequence[UUID],
        trust_seconds: float,
        limit: int,
        full: Sequence[str] = (),
    ) -> list[Run | InvalidRun]:
        """Take over runs that nobody alive has begun, at most `limit`, earliest first; one whose row can't be read
        comes as InvalidRun.

        Parameters: mine, runs that this process has in flight already; trust_seconds, how long a former leader may have
        gone on starting runs; full, jobs whose backfilled runs wait for those that are in flight.
        """
        unanswered_seconds = 3 * self._timeout_seconds
        since = self._unfinished_since
        parameters = adopt_parameters(leadership, mine, trust_seconds, unanswered_seconds, limit, full, since)
        rows = await self._fetch(ADOPT, parameters)
        return [adopted_run(row) for row in rows]

    async def mark_unfinished(self) -> None:
        """Find where the unfinished runs begin: `adopt`, `owners` and `preferred_successor` look from there on.

        What is added below it afterwards (a backfill, or by a clock that is seconds behind) they don't find before the
        mark is set anew, or taken away.
        """
        row = await self._database.fetch_one(EARLIEST_UNFINISHED)
        assert row is not None
        mark = first_run_id(row.now - timedelta(seconds=UNMARKED_SECONDS))
        self._unfinished_since = mark if row.run_id is None else min(mark, row.run_id)

    def unmark_unfinished(self) -> None:
        """Look at all of them again."""
        self._unfinished_since = FIRST_OF_ALL

    async def owners(self, instance_id: str) -> list[Owner]:
        """Who has runs that have not ended: others that have begun them, and whoever has taken or is offered them."""
        rows = await self._fetch(OWNERS, {"instance_id": instance_id, "since": self._unfinished_since})
        return [
            Owner(row.instance_id, row.alive, tuple(map(HeldRun, row.run_ids, row.job_ids, row.scheduled_fors)))
            for row in rows
        ]

    async def preferred_successor(self, instance_id: str, passed_over: Sequence[UUID]) -> str | None:
        """The replica that can call what a waiting run needs and `instance_id` lacks; None if there is none."""
        rows = await self._fetch(
            PREFERRED_SUCCESSOR,
            {
                "instance_id": instance_id,
                "silence": MAX_INSTANCE_SILENCE_SECONDS,
                "passed_over": list(passed_over),
                "since": self._unfinished_since,
            },
        )
        return rows[0].instance_id if rows else None

    async def successor_for_zones(self, instance_id: str, zones: Sequence[str]) -> str | None:
        """The replica that knows a time zone, of these, that a due job needs; None if there is none."""
        parameters = {"instance_id": instance_id, "zones": list(zones), "silence": MAX_INSTANCE_SILENCE_SECONDS}
        rows = await self._fetch(SUCCESSOR_FOR_ZONES, parameters)
        return rows[0].instance_id if rows else None

    async def reap(
        self, leadership: Leadership, dead_instances: Sequence[str], *, max_deliveries: int, limit: int
    ) -> int:
        """End the started attempts of dead replicas, at most `limit`; returns how many."""
        parameters = {
            "term": leadership.term,
            "nonce": leadership.nonce,
            "dead": list(dead_instances),
            "max_deliveries": max_deliveries,
            "limit": limit,
        }
        row = await self._with_partitions(REAP, parameters)
        return 0 if row is None else int(row.reaped)

    async def give_up_forgotten(
        self, instance_id: str, mine: Sequence[UUID], *, begun_before_seconds: float, max_deliveries: int, limit: int
    ) -> int:
        """End attempts that stand under this replica's name and that it has no more, at most `limit`; returns how many.

        Parameters: mine, the runs that it has in flight; begun_before_seconds, how long ago an attempt must have begun.
        """
        parameters = {
            "instance_id": instance_id,
            "mine": list(mine),
            "begun_before": begun_before_seconds,
            "max_deliveries": max_deliveries,
            "limit": limit,
        }
        row = await self._with_partitions(GIVE_UP_FORGOTTEN, parameters)
        return 0 if row is None else int(row.reaped)

    async def trigger(
        self, job_id: str, origin: Origin, run_id: UUID | None = None, at: datetime | None = None
    ) -> Run | None:
        """Add a run for now, which the leader adopts at once; None if there is no such job.

        Parameters: at, what now is, where the database's clock does not say it.
        """
        for _ in range(MAX_TRIES):
            parameters = {
                "job_id": job_id,
                "at": at,
                "run_id": run_id or new_run_id(datetime.now(UTC)),
                "origin": origin.value,
                "schema": self._database.schema,
            }
            row = await self._with_partitions(TRIGGER, parameters)
            if row is None:
                return None
            if row.run_id is not None:
                moment = row.scheduled_for
                return Run(row.run_id, job_id, moment, moment, origin, 0, row.definition_version)
            at = at and at + TICK
        raise JobConflictError(f"job {job_id!r} is triggered too often at one instant: try again")

    async def take(self, ticket: Ticket, instance_id: str) -> Run | None:
        """Take an attempt for a worker, before its callback is called; None if there is no such one to take."""
        rows = await self._fetch(TAKE, {**ticket_parameters(ticket), "instance_id": instance_id})
        taken = adopted_run(rows[0]) if rows else None
        return taken if isinstance(taken, Run) else None

    async def take_back(self, ticket: Ticket, instance_id: str, dead_instance: str | None) -> RunStatus | None:
        """Have the run of a ticket again, from a worker that is dead or never took it; returns where it stood."""
        parameters = {**ticket_parameters(ticket), "instance_id": instance_id, "dead_instance": dead_instance}
        rows = await self._fetch(TAKE_BACK, parameters)
        return RunStatus(rows[0].status) if rows else None

    async def _with_partitions(self, statement: str, parameters: Mapping[str, Any]) -> Row | None:
        """Run a statement; if a row finds no partition, create the days concerned and run it again."""
        try:
            rows = await self._fetch(statement, parameters)
        except MissingPartitionError:
            now = await self._database.now()
            instants: Iterable[datetime] = [
                now,
                *parameters.get("cursors", ()),
                *parameters.get("more_scheduled_fors", ()),
            ]
            await self._partitions.ensure(instants)
            rows = await self._fetch(statement, parameters)
        return rows[0] if rows else None

    async def _fetch(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        return await self._database.fetch(statement, parameters, timeout_seconds=self._timeout_seconds)


def _offered(fires: Sequence[Sequence[Run]], offers: Offers) -> frozenset[UUID]:
    """Of the runs of each plan as many of the first as its job offers."""
    if not offers:
        return frozenset()
    return frozenset(run.run_id for runs in fires if runs for run in runs[: offers.get(runs[0].job_id, 0)])


def _taken(rows: Sequence[Row]) -> Taken:
    """What a look answered: it says the time, and mostly no run, in a row of its own."""
    if not rows:
        return Taken(datetime.now(UTC), (), 0, None)
    first = rows[0]
    taken = [row for row in rows if row.run_id is not None]
    alone = frozenset(row.run_id for row in taken if row.is_alone)
    return Taken(first.now, [adopted_run(row) for row in taken], first.seen, first.next_at, alone)
