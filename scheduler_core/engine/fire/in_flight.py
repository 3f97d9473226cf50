"""The runs that this process has in flight: from the claim or the adoption until it is durable that each has ended or
gone back.

    scheduled   its instant has not come
    waiting     its instant has come: it waits for its turn, a slot or its definition
    active      its callback is being called, or waits to be called again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from uuid import UUID

from scheduler_core.domain.runs.run import LoggerLike, Origin, Outcome, Run, RunStatus, handed_back, unattempted
from scheduler_core.engine.clock import SYSTEM_CLOCK, Clock, MachineClock
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.fire.journal import Journal
from scheduler_core.engine.wake import Wake

BACKFILLS_IN_FLIGHT = 50
"""Backfilled runs of one job, beyond which the rest waits in Postgres."""

LEAVING = frozenset(status for status in RunStatus if status.is_finished or status is RunStatus.PENDING)
"""What is durable of a run that a leader then has no more."""

PASSED_OVER_SECONDS = 10.0
MOST_PASSED_OVER = 10_000


class InFlightRuns:
    """The runs that this process has, by how far each has come.

    Parameters: journal, where it is written down what is dropped; has_room, woken when more runs may come; leaving,
    what is durable of a run that this process then has no more.
    """

    def __init__(
        self,
        clock: Clock,
        journal: Journal,
        has_room: Wake,
        logger: LoggerLike,
        machine: MachineClock = SYSTEM_CLOCK,
        *,
        leaving: frozenset[RunStatus] = LEAVING,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._has_room = has_room
        self._logger = logger
        self._boottime = machine.boottime
        self._leaving = leaving
        self._runs: set[UUID] = set()
        self._scheduled: dict[UUID, Run] = {}
        self._waiting: dict[UUID, Run] = {}
        self._active: dict[UUID, ActiveRun] = {}
        self._cancelling: set[UUID] = set()
        self._backfills: dict[UUID, str] = {}
        self._passed_over: dict[UUID, float] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run_id: UUID) -> bool:
        return run_id in self._runs

    def run_ids(self) -> list[UUID]:
        return list(self._runs)

    @property
    def unended(self) -> int:
        """How many have not come to an end here, durable or not."""
        return len(self._scheduled) + len(self._waiting) + len(self._active)

    def is_beginning(self, run_id: UUID) -> bool:
        """Whether the run is here, and its callback has not been called yet."""
        active = self._active.get(run_id)
        if active is not None:
            return not active.is_calling
        return run_id in self._scheduled or run_id in self._waiting

    def full_of_backfills(self) -> list[str]:
        """The jobs of which enough backfilled runs are in flight."""
        return [job_id for job_id, count in Counter(self._backfills.values()).items() if count >= BACKFILLS_IN_FLIGHT]

    # From its claim to its call.

    def schedule(self, run: Run) -> bool:
        """Take a run in, until its instant comes; False if it is there already."""
        if run.run_id in self._runs:
            return False
        self._runs.add(run.run_id)
        if run.origin is Origin.BACKFILL:
            self._backfills[run.run_id] = run.job_id
        self._scheduled[run.run_id] = run
        return True

    def begin_waiting(self, run: Run) -> bool:
        """Its instant has come; False if it was dropped meanwhile."""
        if self._scheduled.get(run.run_id) is not run:
            return False
        del self._scheduled[run.run_id]
        self._waiting[run.run_id] = run
        return True

    def wait_no_more(self, run: Run) -> bool:
        """Take a run from those that wait; False if it is not there, or there anew after it was handed back."""
        if self._waiting.get(run.run_id) is not run:
            return False
        del self._waiting[run.run_id]
        return True

    def is_cancelling(self, run: Run) -> bool:
        """Whether somebody asked for the run to be cancelled."""
        return run.run_id in self._cancelling

    def activate(self, active: ActiveRun) -> None:
        self._active[active.run.run_id] = active

    def deactivate(self, active: ActiveRun) -> None:
        active.task = None
        self._active.pop(active.run.run_id, None)

    def active(self) -> list[ActiveRun]:
        """All that are active. Safe to ask from another thread."""
        return list(self._active.values())

    def calling(self) -> Iterator[ActiveRun]:
        """Those whose callback is being called. Safe to ask from another thread."""
        return (active for active in self.active() if active.is_calling)

    def as_running(self) -> Sequence[Outcome]:
        """The runs whose callback is being called, as outcomes that say `running`: what the elector writes down when
        the loop hangs.
        """
        return [active.as_running() for active in self.calling()]

    # Letting go.

    def hand_back(self) -> None:
        """Give back what has not begun, so that the next leader may start it at once."""
        for held in (self._scheduled, self._waiting):
            for run in held.values():
                self._journal.record_soon(handed_back(run))
            held.clear()

    def cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled: drop it, or stop it, if it is in flight here.

        What waits has ended in the database already. A coroutine is cancelled; a thread can't be stopped: its run
        ends as cancelled once it has returned.
        """
        if run_id not in self._runs or run_id in self._cancelling:
            return
        self._cancelling.add(run_id)
        scheduled = self._scheduled.pop(run_id, None)
        if scheduled is not None:
            self._journal.record_soon(unattempted(scheduled, RunStatus.CANCELLED, "requested", self._clock.now()))
            return
        active = self._active.get(run_id)
        if active is not None and not active.cancel():
            self._logger.warning("run %s is to be cancelled: its thread is waited for", active.run.idempotency_key)

    def release(self, run: Run) -> None:
        """Somebody else has the run now, or nobody."""
        self._let_go_of(run.run_id)

    def outcomes_recorded(self, outcomes: Sequence[Outcome], late: Set[UUID]) -> None:
        """These outcomes are durable. Whose runs they are of, nobody asks where none is in flight here."""
        for outcome in outcomes if self._runs else ():
            run_id = outcome.run.run_id
            if late and run_id in late and run_id in self._runs:
                self._lose(outcome.run)
            if outcome.status in self._leaving:
                self._let_go_of(run_id)

    def _lose(self, run: Run) -> None:
        """Somebody else has the run: its outcome came too late."""
        active = self._active.get(run.run_id)
        if active is not None:
            active.is_owned = False
        self._logger.warning(
            "run %s was taken over or cancelled meanwhile; its outcome here is kept as late", run.idempotency_key
        )

    def _let_go_of(self, run_id: UUID) -> None:
        self._runs.discard(run_id)
        if self._cancelling:
            self._cancelling.discard(run_id)
        if self._backfills:
            self._let_go_of_backfill(run_id)

    def _let_go_of_backfill(self, run_id: UUID) -> None:
        job_id = self._backfills.pop(run_id, None)
        if job_id is not None and job_id not in self.full_of_backfills():
            self._has_room.wake()

    # What is left in Postgres.

    def pass_over(self, run_id: UUID) -> bool:
        """Have this run adopted no more for a while: nothing can be done with it here. Whether that is news."""
        if len(self._passed_over) >= MOST_PASSED_OVER:
            self._passed_over.clear()
        is_news = run_id not in self._passed_over
        self._passed_over[run_id] = self._boottime()
        return is_news

    def passed_over(self) -> list[UUID]:
        """The runs that are not to be adopted just now."""
        since = self._boottime() - PASSED_OVER_SECONDS
        return [run_id for run_id, seen_at in self._passed_over.items() if seen_at > since]


class AllInFlight:
    """Several of these as one: what a replica leads, and what it has taken."""

    def __init__(self, *parts: InFlightRuns) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __contains__(self, run_id: UUID) -> bool:
        return any(run_id in part for part in self._parts)

    def run_ids(self) -> list[UUID]:
        return [run_id for part in self._parts for run_id in part.run_ids()]

    def calling(self) -> Iterator[ActiveRun]:
        """Those whose callback is being called. Safe to ask from another thread."""
        return (active for part in self._parts for active in part.calling())

    def as_running(self) -> Sequence[Outcome]:
        """The runs whose callback is being called, as outcomes that say `running`. Safe to ask from another thread."""
        return [active.as_running() for active in self.calling()]

    def cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled: whoever has it drops it, or stops it."""
        for part in self._parts:
            part.cancel(run_id)
