"""Short histories: what the machine has found, and what it has to notice."""

from __future__ import annotations

import pytest

from .machine import Machine, Servers, playing
from .model import Spec
from .mutants import MUTANTS, Mutant


def test_an_edit_of_a_job_that_is_disabled_after_failures_runs_nothing_of_it(machine: Machine) -> None:
    machine.put("a", Spec(disable_after=1))
    machine.look(61)
    machine.agrees()
    machine.end_call(0, fails=True)
    machine.agrees()
    machine.let_pass(600)
    machine.put("a", Spec(disable_after=1, name="B"))
    machine.agrees()


def test_an_edit_after_a_pause_that_has_ended_swallows_nothing(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.pause(0, 30.5)
    machine.look(61)
    machine.agrees()
    machine.let_pass(60)
    machine.put("a", Spec(name="B"))
    machine.agrees()


def test_a_count_at_an_instant_that_was_made_up_for_is_not_lost(machine: Machine) -> None:
    """The last occurrence of a pause was made up for before it ended: the others are counted all the same."""
    machine.put("a", Spec())
    machine.pause(0, None)
    machine.let_pass(600)
    machine.agrees()
    machine.backfill(0, 1)
    machine.agrees()
    machine.resume(0)
    machine.agrees()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_guard_that_is_gone_is_noticed(mutant: Mutant, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is well with it, and is not without."""
    history = MUTANTS[mutant]
    with playing(servers) as machine:
        history(machine)
    mutant(monkeypatch)
    with playing(servers) as machine, pytest.raises((AssertionError, pytest.fail.Exception)):
        history(machine)
