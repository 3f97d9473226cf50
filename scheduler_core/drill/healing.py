"""How long a fault of a server that goes on lasts, and how it is healed though another fault is still about."""

from __future__ import annotations

from dataclasses import replace

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.drill.injection import Heal, InjectedFault
from scheduler_core.drill.stage import Stage, poll

LASTS_TTLS = 2.5


def lasts_seconds(stage: Stage) -> float:
    """How long such a fault lasts."""
    return LASTS_TTLS * stage.plan.lease_ttl_seconds


def lasting(stage: Stage, struck: InjectedFault, undo: Heal, within_seconds: float) -> InjectedFault:
    """The same strike, undone in time."""
    return replace(struck, lasts_seconds=lasts_seconds(stage), heal=until_done(undo, struck.target, within_seconds))


def until_done(undo: Heal, struck: str, within_seconds: float) -> Heal:
    """Tried again until the server takes it: another fault may have it down, or refuse writes still.

    Parameters: struck, what was hit, for the SchedulerError that is raised if the server does not take it in time.
    """

    async def heal() -> None:
        async def tried() -> bool:
            await undo()
            return True

        if not await poll(tried, within_seconds):
            raise SchedulerError(f"{struck}: not healed within {within_seconds:g} s")

    return heal
