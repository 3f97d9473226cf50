"""FOLLOWING: waiting until the seat is believed to be free."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from scheduler_core.domain.trust import LeaseWatch, State
from scheduler_core.engine.clock import boottime
from scheduler_core.engine.election.office import Office
from scheduler_core.engine.election.reasons import LEASE_SILENT, NOBODY_LED, WITNESS_FELL
from scheduler_core.ports import LeaderRow

ABSTAIN_SECONDS = 0.05
"""Pause of a replica that may not lead, or has just resigned, before it looks again."""

STAND_AGAIN_SECONDS = 0.01
"""Pause of a candidate that lost: the winner's row is there within milliseconds."""

SEEN_EVERY_SECONDS = 1.0
"""The longest pause between two signs of life of a follower, and looks at the leader's row."""


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
        self._control = office.control
        # Often enough for the server, which ends a session that was silent for nearly a TTL.
        self._seen_every_seconds = min(SEEN_EVERY_SECONDS, office.timing.ttl_seconds / 4)

    async def next_vacancy(self) -> Vacancy | None:
        """Wait until the seat is believed to be free; None where this replica may not stand, or is to leave."""
        office, control = self._office, self._control
        office.states.enter(State.FOLLOWING, "no vacancy yet")
        row = await control.leader()
        watch = self._timing.watch()
        looking: asyncio.Task[None] | None = None
        follows_since = seen_at = boottime()
        try:
            while not office.is_stopping:
                if looking is None:
                    looking = asyncio.create_task(office.lease.observe(watch), name="look at the lease")
                if row.nonce is None:
                    # Nobody holds the seat: the leader resigned, or there never was one.
                    if self._lets_pass(row, boottime() - follows_since):
                        await office.wake.sleep(STAND_AGAIN_SECONDS)
                        row = await control.leader()
                        continue
                    return self._vacancy(row, NOBODY_LED, boottime())
                fell = await self._await_fall(row, watch)
                fell_at = boottime()
                if looking.done():
                    looking = None
                if fell:
                    current = await control.leader()
                    if current != row:
                        row, watch, follows_since = current, self._timing.watch(), boottime()
                        continue
                    if await control.uptime_seconds() > self._timing.ttl_seconds:
                        return self._vacancy(row, WITNESS_FELL, fell_at)
                    # Postgres itself restarted and took every witness along: give the leader time to sit down.
                    await office.wake.sleep(ABSTAIN_SECONDS)
                silent = watch.silent_seconds(boottime())
                if silent >= self._timing.silence_seconds and office.lease.can_be_read:
                    return self._vacancy(row, LEASE_SILENT, boottime() - silent)
                if boottime() - seen_at >= self._seen_every_seconds:
                    seen_at = boottime()
                    await control.seen()
                    row_now = await control.leader()
                    if row_now != row:
                        row, watch, follows_since = row_now, self._timing.watch(), boottime()
            return None
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    def _lets_pass(self, row: LeaderRow, waited_seconds: float) -> bool:
        """Whether another replica goes first, because the last leader resigned in its favour."""
        preferred = row.preferred_successor
        others = preferred is not None and preferred != self._office.instance.instance_id
        return others and waited_seconds < self._timing.renew_every_seconds

    def _vacancy(self, row: LeaderRow, reason: str, alive_at: float) -> Vacancy | None:
        office = self._office
        stalled = office.pulse.stalled_seconds > self._timing.stall_timeout_seconds
        if not office.instance.eligible or office.is_retired or stalled or boottime() < office.abstain_until:
            return None
        return Vacancy(row, reason, alive_at)

    async def _await_fall(self, row: LeaderRow, watch: LeaseWatch) -> bool:
        """Wait a bounded while for the leader's witness to fall; shorter when the lease is about to run out."""
        office = self._office
        until_silent = watch.expires_in(boottime())
        wait = max(0.005, min(self._timing.ttl_seconds / 4, until_silent))
        if not office.instance.eligible:
            await office.wake.sleep(self._seen_every_seconds)
            return False
        if row.witnessed and self._control.witnesses_work:
            return await self._control.await_fall(row, wait)
        await office.wake.sleep(min(wait, self._timing.ttl_seconds / 10))
        return False
