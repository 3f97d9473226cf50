"""The guard at the database's clock: planning goes by it as long as it goes on as it did.

Every reading is held against this machine's own clocks and against what is stored (`domain.clock` judges). The leader
stores every few seconds what planning goes by, and why it has stopped, so that neither a successor nor a restart
accepts in silence what a leader refused. While planning has stopped all else goes on, by the time that the clock should
show.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from scheduler_core.domain.clock import (
    WHAT_TO_DO,
    ClockState,
    Evidence,
    Hold,
    Judgement,
    Jump,
    Reading,
    describe_hold,
    judge,
)
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.clock import SYSTEM_CLOCK, DatabaseClock, MachineClock, machine_now, reading_of
from scheduler_core.ports.clock import ClockView, DatabaseTime, ReplicaTime
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.storage import Storage
from scheduler_core.support.zone_data import zone_data

STORE_SECONDS = 5.0
"""Between two readings that the leader stores; less where the limit is small."""

CLOCK_MOVED_SECONDS = 1.0
"""A machine's clock that is off by so much more or less than was published is published anew."""

_UNHEARD = logging.getLogger("scheduler_core.clock.unheard")
_UNHEARD.disabled = True


class ClockGuard:
    """One replica's guard.

    Parameters: store, where what planning goes by is stored; instance_id, this replica, "" for a part of one that only
    wants to know; limit_seconds, the furthest jump that is none, 0 for no limit; logger, None: another part tells;
    machine, whose clocks the database's is held against.
    """

    def __init__(
        self,
        store: DatabaseTime,
        instance_id: str,
        *,
        limit_seconds: float,
        logger: LoggerLike | None,
        machine: MachineClock = SYSTEM_CLOCK,
    ) -> None:
        self.clock = DatabaseClock(machine)
        """What the replica goes by: the database's clock as long as it is believed, and carried forward from there."""
        self.jump: Jump | None = None
        """By how much the database's clock is off what this replica can go by; None while it goes by it."""
        self._machine = machine
        self._store = store
        self._instance_id = instance_id
        self._limit_seconds = limit_seconds
        self._logger: LoggerLike = logger or _UNHEARD
        self._own: Reading | None = None
        self._state = ClockState()
        self._off_since: datetime | None = None
        self._stored_at = float("-inf")

    def admits(self, now: datetime, sent_at: float, received_at: float) -> bool:
        """Whether planning may go by this answer of the database, asked and heard at these boottimes.

        Where not, and where only wall clocks could tell, a look decides.
        """
        reading = reading_of(now, sent_at, received_at, self._machine)
        judgement = self._judge(reading, {})
        return not _rests_on_walls(judgement) and self._take(reading, judgement)

    async def look(self, leadership: Leadership | None) -> None:
        """Read the database's clock and what is stored of it; a leader stores what follows.

        Called about once a second, and whenever a leader's planning stops. Raises SchedulerError.
        """
        sent_at = self._machine.boottime()
        view = await self._store.read(self._instance_id)
        reading = reading_of(view.now, sent_at, self._machine.boottime(), self._machine)
        if view.state.version != self._state.version:
            # An operator has agreed to another time: what this process remembers is of the one before.
            self._own = None
        self._state = view.state
        judgement = self._judge(reading, {})
        if _rests_on_walls(judgement):
            judgement = self._judge(reading, await self._store.others_ahead_seconds(self._instance_id))
        self._take(reading, judgement)
        if self._instance_id:
            await self._publish(view, reading)
        if leadership is not None:
            await self._store_what_follows(leadership, reading, judgement)

    def _judge(self, reading: Reading, others_ahead_seconds: Mapping[str, float]) -> Judgement:
        return judge(
            reading,
            self._own,
            self._state,
            self._limit_seconds,
            off_since=self._off_since,
            others_ahead_seconds=others_ahead_seconds,
        )

    def _take(self, reading: Reading, judgement: Judgement) -> bool:
        middle, error = reading.machine.boottime_seconds, reading.error_seconds
        if judgement.is_admitted:
            if self.jump is not None:
                self._logger.warning("the database's clock is gone by again: it shows %s", reading.database_at)
            self._own, self._off_since, self.jump = reading, None, None
            self.clock.read(reading.database_at, middle - error, middle + error)
            return True
        if self.jump is None:
            self._off_since = reading.database_at
            self._logger.error("the database's clock is off by %s: this replica does not go by it", judgement.jump)
            if not self.clock.is_set and self._state.accepted is not None:
                expected_at = self._state.accepted.carried_to(reading.machine)
                self.clock.read(expected_at, middle - error, middle + error)
        self.jump = judgement.jump
        return False

    async def _publish(self, view: ClockView, reading: Reading) -> None:
        """Say what this replica knows of time, where that is news."""
        boot, ahead_seconds, release = view.published
        mine = reading.machine.boot, zone_data().release
        is_moved = ahead_seconds is None or abs(ahead_seconds - reading.ahead_seconds) > CLOCK_MOVED_SECONDS
        if (boot, release) == mine and not is_moved:
            return
        time = ReplicaTime(mine[0], reading.ahead_seconds, mine[1], zone_data().names())
        await self._store.publish(self._instance_id, time)

    async def _store_what_follows(self, leadership: Leadership, reading: Reading, judgement: Judgement) -> None:
        state, now = self._state, self._machine.boottime()
        if judgement.is_admitted:
            every_seconds = min(STORE_SECONDS, self._limit_seconds / 4) if self._limit_seconds > 0 else STORE_SECONDS
            if state.hold is None and now - self._stored_at < every_seconds:
                return
            if await self._store.accept(leadership, state.version, reading):
                self._logger.warning("planning goes on: the database's clock is right again")
            self._stored_at = now
            return
        self._stored_at = float("-inf")
        jump = judgement.jump
        if state.hold is not None or jump is None:
            return
        expected_at = self._expected(reading, jump)
        if await self._store.hold(leadership, state.version, reading, expected_at, jump.evidence):
            hold = Hold(0, reading, expected_at, jump.evidence, self._instance_id)
            self._logger.error("planning has stopped: %s; %s", describe_hold(hold, self._limit_seconds), WHAT_TO_DO)

    def _expected(self, reading: Reading, jump: Jump) -> datetime:
        reference = self._own or self._state.accepted
        return reading.database_at if reference is None else reference.carried_to(reading.machine)


def _rests_on_walls(judgement: Judgement) -> bool:
    return judgement.jump is not None and judgement.jump.evidence is Evidence.WALL


async def believed_now(storage: Storage, limit_seconds: float, machine: MachineClock = SYSTEM_CLOCK) -> datetime:
    """The time by which changes of jobs account: the database's, or what its clock should show."""
    if limit_seconds <= 0:
        return await storage.jobs.now()
    now, expected_at = await _now_and_expected(storage, limit_seconds, machine)
    return expected_at or now


async def expected_now(storage: Storage, limit_seconds: float, machine: MachineClock = SYSTEM_CLOCK) -> datetime | None:
    """What the database's clock should show, where it is not to be believed; None where it is.

    For whoever changes jobs: a pause or a new definition accounts for what was owed by then, and an hour that nobody
    has lived through yet is owed nothing.
    """
    return (await _now_and_expected(storage, limit_seconds, machine))[1] if limit_seconds > 0 else None


async def _now_and_expected(
    storage: Storage, limit_seconds: float, machine: MachineClock
) -> tuple[datetime, datetime | None]:
    sent_at = machine.boottime()
    view = await storage.clock.read()
    accepted = view.state.accepted
    if accepted is None:
        return view.now, None
    reading = reading_of(view.now, sent_at, machine.boottime(), machine)
    is_proven = accepted.machine.boot == reading.machine.boot
    if view.state.hold is None and (not is_proven or judge(reading, None, view.state, limit_seconds).is_admitted):
        return view.now, None
    return view.now, accepted.carried_to(machine_now(machine))
