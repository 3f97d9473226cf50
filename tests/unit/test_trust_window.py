"""The trust window of a replica that may lead: believable until then, for its own term, while its life is witnessed."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest
from fire_values import a_run

from scheduler_core.engine.clock import boottime
from scheduler_core.engine.election.trust_window import DOUBT_FOR_SECONDS, LeaderTrust
from scheduler_core.ports.election import Leadership

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


def stalled_since_its_last_word() -> LeaderTrust:
    """As a process finds it that was stopped for a second: the window is open, and nobody has said so for long."""
    window = seated()
    window._trust = replace(window._trust, since=boottime() - 1.0)
    return window


@pytest.mark.parametrize("still_leads", [True, False])
def test_a_start_after_a_stall_waits_for_the_electors_next_word(still_leads: bool) -> None:
    """Timers of a process that is woken are due at once, and somebody else may lead since."""
    window = stalled_since_its_last_word()
    word = threading.Timer(0.01, lambda: window.extend(boottime() + 60) if still_leads else window.drop())
    word.start()
    assert window.allows(a_run(term=7)) is still_leads
    word.join()


def test_nobody_waits_twice_for_a_word_that_does_not_come() -> None:
    """Postgres is slow: the window is what it was, and the loop goes on."""
    window = stalled_since_its_last_word()
    began = boottime()
    assert all(window.allows(a_run(term=7)) for _ in range(100))
    assert boottime() - began < 10 * DOUBT_FOR_SECONDS
