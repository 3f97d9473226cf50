"""Alive, ready: decided from what a replica knows of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler_core.domain.election.health import HealthSnapshot, why_not_alive, why_not_ready
from scheduler_core.domain.election.trust import State

WELL = HealthSnapshot(
    instance_id="a-1-ff",
    instance_name="a",
    version="0",
    state=State.FOLLOWING,
    leads=False,
    term=None,
    is_started=True,
    is_stopping=False,
    holds_life=True,
    stalled_seconds=0.1,
    stall_timeout_seconds=10.0,
)


@pytest.mark.parametrize("state", [State.FOLLOWING, State.CANDIDATE, State.LEADING, State.RECLAIMING, State.RESIGNING])
def test_a_follower_is_as_ready_as_the_leader(state: State) -> None:
    assert why_not_ready(replace(WELL, state=state)) is None
    assert why_not_alive(replace(WELL, state=state)) is None


@pytest.mark.parametrize(
    ("change", "is_alive"),
    [
        ({"is_started": False, "state": State.STARTING}, True),
        ({"is_stopping": True}, True),
        ({"holds_life": False}, True),
        ({"stalled_seconds": 10.5}, False),
        ({"state": State.STOPPED}, False),
    ],
)
def test_only_what_a_restart_mends_asks_for_one(change: dict[str, object], is_alive: bool) -> None:
    snapshot = replace(WELL, **change)  # type: ignore[arg-type]
    assert (why_not_alive(snapshot) is None) is is_alive
    assert why_not_ready(snapshot) is not None
