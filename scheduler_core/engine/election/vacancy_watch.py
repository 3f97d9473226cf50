"""FOLLOWING: waiting until the seat is believed to be free."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from scheduler_core.domain.election.trust import State
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.engine.election.office import Office
from scheduler_core.engine.election.reasons import LEASE_SILENT, NOBODY_LED, WITNESS_FELL
from scheduler_core.ports.election import LeaderRow
from scheduler_core.runtime.task_ends import end_tasks

ABSTAIN_SECONDS = 0.05
"""Pause of a replica that may not lead, or has just resigned, before it looks again."""

STAND_AGAIN_SECONDS = 0.01
"""Pause of a candidate that lost: the winner's row is there within milliseconds."""

SEEN_EVERY_SECONDS = 1.0
"""The longest pause between two signs of life of a follower, and looks at the leader's row."""


FRESH_SECONDS = 0.1
"""Whoever finds the witness fallen within so long of its first look has not seen the leader alive."""


@dataclass(frozen=True, slots=True)
class Vacancy:
    """The seat is believed to be free: the row as read before, why, and the last sign of life on our own clock."""

    row: LeaderRow
    reason: str
    alive_at: float


class VacancyWatch:
    """One follower's watch over the leader's row, its witness and its lease."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._timing = office.timing
        self._boottime = office.surroundings.boottime
        self._control = office.control
        # Often enough for the server, which ends a session that was silent for nearly a TTL.
        self._seen_every_seconds = min(SEEN_EVERY_SECONDS, office.timing.ttl_seconds / 4)
        self._row = LeaderRow(0, None, None, witnessed=False)
        self._watch = office.timing.watch()
        self._follows_since = 0.0

    async def next_vacancy(self) -> Vacancy | None:
        """Wait until the seat is believed to be free; None where this replica may not stand, or is to leave."""
        office, control = self._office, self._control
        office.states.enter(State.FOLLOWING, "no vacancy yet")
        self._follow(await control.leader())
        looking = asyncio.create_task(self._look_on(), name="look at the lease")
        seen_at = self._boottime()
        try:
            while not office.is_stopping:
                if looking.done():
                    looking.result()
                row = self._row
                if row.nonce is None:
                    # Nobody holds the seat: the leader resigned, or there never was one.
                    if self._lets_pass(row, self._boottime() - self._follows_since):
                        await office.wake.sleep(STAND_AGAIN_SECONDS)
                        self._follow(await control.leader())
                        continue
                    return self._vacancy(NOBODY_LED, self._boottime())
                if await self._await_fall(row):
                    fell_at = self._boottime()
                    if await self._has_moved():
                        continue
                    if await control.uptime_seconds() > self._timing.ttl_seconds:
                        return self._vacancy(WITNESS_FELL, await self._fell_at(fell_at))
                    # Postgres itself restarted and took every witness along: give the leader time to sit down.
                    await office.wake.sleep(ABSTAIN_SECONDS)
                elif office.suspicion.is_suspicious(self._boottime()) and await self._is_the_leaders_silence():
                    return self._vacancy(LEASE_SILENT, self._boottime() - self._watch.silent_seconds(self._boottime()))
                silent_seconds = self._watch.silent_seconds(self._boottime())
                if silent_seconds >= self._timing.silence_seconds and self._silence_counts():
                    return self._vacancy(LEASE_SILENT, self._boottime() - silent_seconds)
                if self._boottime() - seen_at >= self._seen_every_seconds:
                    seen_at = self._boottime()
                    await control.seen()
                    await self._has_moved()
            return None
        finally:
            await end_tasks(looking)

    def _follow(self, row: LeaderRow) -> None:
        """Begin to watch a leader, if it is another one."""
        if row != self._row or self._follows_since == 0.0:
            self._row, self._watch, self._follows_since = row, self._timing.watch(), self._boottime()
            self._office.suspicion.begin()

    async def _has_moved(self) -> bool:
        """Look at the leader's row; whether it says something else than before."""
        before = self._row
        self._follow(await self._control.leader())
        return self._row != before

    async def _look_on(self) -> None:
        """Look at the lease with every beat, as long as nobody ends it."""
        office = self._office
        while office.lease.can_be_read:
            looked_at = self._boottime()
            row = self._row
            witnessed = row.witnessed and self._control.witnesses_work
            await office.lease.observe(self._watch, office.suspicion, row.nonce, witnessed=witnessed)
            await asyncio.sleep(max(0.0, looked_at + self._timing.beat_every_seconds - self._boottime()))

    def _silence_counts(self) -> bool:
        """Whether a lease without a sign of life tells of a death: not of a leader who has not had one, as long as
        Postgres tells too.
        """
        can_not_tell_else = not (self._row.witnessed and self._control.witnesses_work)
        return self._office.lease.can_be_read and (self._watch.has_seen_beats or can_not_tell_else)

    async def _is_the_leaders_silence(self) -> bool:
        """Whether Postgres answers as ever: a leader beats only while it does."""
        asked_at = self._boottime()
        moved = await self._has_moved()
        if self._boottime() - asked_at > self._timing.beat_every_seconds:
            self._office.suspicion.blind()
            return False
        return not moved

    async def _fell_at(self, noticed_at: float) -> float:
        """When the leader showed life last; of one that nobody here has seen alive, only the database can know."""
        row = self._row
        if noticed_at - self._follows_since > FRESH_SECONDS or self._office.vacancies.is_known(row):
            return noticed_at
        ago = None if row.instance_id is None else await self._last_seen_seconds(row.instance_id)
        return noticed_at if ago is None else min(noticed_at, self._boottime() - ago + SEEN_EVERY_SECONDS)

    async def _last_seen_seconds(self, instance_id: str) -> float | None:
        try:
            return await self._control.last_seen_seconds(instance_id)
        except SchedulerError as error:
            self._office.logger.debug("nobody knows when %s was seen last: %s", instance_id, error)
            return None

    def _lets_pass(self, row: LeaderRow, waited_seconds: float) -> bool:
        """Whether another replica goes first, because the last leader resigned in its favour."""
        preferred = row.preferred_successor
        others = preferred is not None and preferred != self._office.instance.instance_id
        return others and waited_seconds < self._timing.candidacy_seconds

    def _vacancy(self, reason: str, alive_at: float) -> Vacancy | None:
        office = self._office
        alive_at = office.vacancies.since(self._row, alive_at)
        stalled = office.pulse.stalled_seconds > self._timing.stall_timeout_seconds
        if not office.instance.eligible or office.is_retired or stalled or self._boottime() < office.abstain_until:
            return None
        return Vacancy(self._row, reason, alive_at)

    async def _await_fall(self, row: LeaderRow) -> bool:
        """Wait a bounded while for the leader's witness to fall; shorter when the lease is about to tell."""
        office, now = self._office, self._boottime()
        if not office.instance.eligible:
            await office.wake.sleep(self._seen_every_seconds)
            return False
        tells_in = min(self._watch.expires_in(now), office.suspicion.earliest_in(now))
        wait = max(0.005, min(self._timing.ttl_seconds / 4, tells_in))
        if row.witnessed and self._control.witnesses_work:
            fell = await self._control.await_fall(row, wait)
        else:
            await office.wake.sleep(min(wait, self._timing.ttl_seconds / 10))
            fell = False
        if not fell and self._watch.silent_seconds(self._boottime()) < self._timing.beat_every_seconds * 2:
            office.vacancies.forget()
        return fell
