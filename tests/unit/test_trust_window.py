"""The trust window of a replica that may lead: believable until then, for its own term, while its life is witnessed."""

from __future__ import annotations

import os

import pytest
from fire_values import a_run

from scheduler_core.engine.clock import boottime
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.ports import Leadership

LEADERSHIP = Leadership(7, "n", "me")


def seated(*, for_seconds: float = 60.0, life: bool = True) -> LeaderTrust:
    window = LeaderTrust()
    window.witness_life(held=life)
    window.seat(LEADERSHIP, boottime() + for_seconds)
    return window


def test_a_run_of_the_term_may_start_while_the_window_is_open() -> None:
    window = seated()
    assert window.leadership() == LEADERSHIP
    assert window.allows(a_run(term=7))


@pytest.mark.parametrize("term", [6, 8])
def test_a_run_of_another_term_may_not(term: int) -> None:
    """An earlier leadership of this replica's own is another's too: somebody may have led in between."""
    assert not seated().allows(a_run(term=term))


def test_nothing_may_start_once_the_window_has_closed() -> None:
    window = seated(for_seconds=0.0)
    assert window.leadership() is None
    assert not window.allows(a_run(term=7))
    window.extend(boottime() + 60)
    assert window.allows(a_run(term=7))


def test_nothing_may_start_without_the_life_witness() -> None:
    """A successor may have adopted the run already."""
    window = seated(life=False)
    assert window.leadership() == LEADERSHIP
    assert not window.allows(a_run(term=7))


def test_life_goes_on_without_leadership() -> None:
    """What was begun ends where it began."""
    window = seated()
    assert window.drop() == LEADERSHIP
    assert window.drop() is None
    assert window.holds_life
    assert not window.allows(a_run(term=7))


def test_a_forked_child_has_nothing_of_it() -> None:
    window = seated()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if window.leadership() is None and not window.holds_life else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert window.allows(a_run(term=7))
