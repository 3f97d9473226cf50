"""The database's clock as people ask for it, and an operator's agreement to what it shows."""

from __future__ import annotations

from typing import Any

from scheduler_core.container import Container
from scheduler_core.domain.clock import describe_hold
from scheduler_core.domain.errors import ClockHoldNotFoundError
from scheduler_core.engine.clock import machine_now

SHOWN_HOLDS = 20


async def report_clock(container: Container) -> dict[str, Any]:
    """What the database's clock and this machine's show, what planning went by last, and what stops or stopped it."""
    clock = container.get_clock()
    view, machine = await clock.read(), machine_now()
    accepted, hold = view.state.accepted, view.state.hold
    holds = await clock.holds(limit=SHOWN_HOLDS)
    return {
        "database_at": view.now,
        "machine_at": machine.wall_at,
        "held": hold is not None,
        "hold_id": None if hold is None else hold.hold_id,
        "detail": None if hold is None else describe_hold(hold, container.settings.clock_jump_limit),
        "planned_at": None if accepted is None else accepted.database_at,
        "jump_limit": container.settings.clock_jump_limit,
        "holds": [{**row, "ahead_by": row["database_at"] - row["expected_at"]} for row in holds],
    }


async def agree_to_clock(container: Container, by: str, hold_id: int | None = None) -> dict[str, Any]:
    """Have planning go by the database's clock as it is now.

    Parameters: by, who agrees; hold_id, what they have seen. Returns the time that was agreed to, and the hold that it
    ended (None: there was none). Raises ClockHoldNotFoundError if another one is open by now, or none.
    """
    agreed = await container.get_clock().agree(machine_now(), by, seen=hold_id)
    if agreed is None:
        raise ClockHoldNotFoundError(
            f"planning does not stand still for hold {hold_id}: nothing was changed; `scheduler clock show` says what "
            "it stands still for, if it does"
        )
    return {"database_at": agreed.database_at, "hold_id": agreed.hold_id}
