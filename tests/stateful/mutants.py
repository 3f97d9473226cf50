"""The product with a guard taken out, one at a time, and the few steps that show it. The machine has to notice each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from scheduler_core.engine.operations import jobs as verbs
from scheduler_core.ports.runs import Settlement
from scheduler_core.storage.fire import requests
from scheduler_core.storage.fire import runs as runs_module
from scheduler_core.storage.jobs import calendars, definitions
from scheduler_core.storage.jobs.definitions import JobStore

from .machine import Machine
from .model import Spec

Mutant = Callable[[pytest.MonkeyPatch], None]


def rewritten(patch: pytest.MonkeyPatch, module: Any, name: str, old: str, new: str) -> None:
    """A statement with a piece taken out, which has to be there."""
    statement: str = getattr(module, name)
    assert old in statement, f"{name} has no {old!r}"
    patch.setattr(module, name, statement.replace(old, new))


def pause_leaves_due(patch: pytest.MonkeyPatch) -> None:
    """A pause leaves when the job is looked at next as it was, and so it fires on."""
    with_cursor = verbs.with_cursor

    def mutant(plan: Any, job: Any, cursor: Any) -> Any:
        return with_cursor(plan, replace(job, paused_at=None, paused_until=None), cursor)

    patch.setattr(verbs, "with_cursor", mutant)


def pause_accounts_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """What was owed is passed over in silence."""
    settle = JobStore.settle

    async def mutant(store: JobStore, change: Settlement, *given: Any) -> bool:
        return await settle(store, replace(change, plan=replace(change.plan, missed=())), *given)

    patch.setattr(JobStore, "settle", mutant)


def cancel_counts_as_a_run(patch: pytest.MonkeyPatch) -> None:
    """A cancelled run counts as one that ended by itself."""
    rewritten(patch, requests, "CANCEL", "SET last_status = 'cancelled'", "SET run_count = j.run_count + 1")


def outcomes_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """Failed attempts are missing from the counter."""
    rewritten(patch, runs_module, "RECORD", "error_count = j.error_count + c.failed_attempts,", "")


def revert_keeps_version(patch: pytest.MonkeyPatch) -> None:
    """A revert does not say which version it brings back."""
    settle = JobStore.settle

    async def mutant(store: JobStore, change: Settlement, *given: Any) -> bool:
        return await settle(store, replace(change, reverts_to=None), *given)

    patch.setattr(JobStore, "settle", mutant)


def remove_leaves_the_job(patch: pytest.MonkeyPatch) -> None:
    """A removed job is still there, with a cursor that lives."""
    settle = JobStore.settle

    async def mutant(store: JobStore, change: Settlement, *given: Any) -> bool:
        return await settle(store, replace(change, remove=False), *given)

    patch.setattr(JobStore, "settle", mutant)


def edit_moves_the_phase(patch: pytest.MonkeyPatch) -> None:
    """An edit counts from when it was made."""
    patch.setattr(verbs, "_counts_alike", lambda old, new: False)


def rerun_of_the_unfinished(patch: pytest.MonkeyPatch) -> None:
    """A run that has not ended runs again."""
    rewritten(patch, requests, "RERUN", "AND old.status NOT IN {unfinished}", "")


def backfill_of_the_done(patch: pytest.MonkeyPatch) -> None:
    """What has run is made up for."""
    rewritten(patch, requests, "BACKFILL", "WHERE r.status = 'missed'", "")
    patch.setattr(requests.RequestStore, "rows_between", _no_rows)


async def _no_rows(*_: Any) -> dict[Any, str]:
    return {}


def calendar_in_use_goes(patch: pytest.MonkeyPatch) -> None:
    """A calendar in use is removed."""
    rewritten(patch, calendars, "REMOVE", "AND NOT EXISTS (SELECT FROM naming)", "")


def count_is_lost(patch: pytest.MonkeyPatch) -> None:
    """As it was, before it was found here."""
    rewritten(
        patch,
        definitions,
        "SETTLE",
        "WHERE excluded.missed_count IS NOT NULL AND {schema}.runs.missed_count IS NULL",
        "WHERE false",
    )


def deaths_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A run that ends with its owner is missing from the counter."""
    rewritten(patch, runs_module, "REAP", "SET run_count = j.run_count + c.ended,", "SET")


def _paused(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.let_pass(61)
    machine.agrees()
    machine.pause(0, None)
    machine.agrees()


def _cancelled(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.trigger(0)
    machine.agrees()
    machine.cancel(0)
    machine.agrees()


def _failed(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.look(61)
    machine.agrees()
    machine.end_call(0, fails=True)
    machine.agrees()


def _reverted(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.put("a", Spec(name="B", seconds=10))
    machine.agrees()
    machine.revert(0, 0)
    machine.agrees()


def _removed(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.remove(0)
    machine.agrees()


def _edited(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.let_pass(7)
    machine.put("a", Spec(seconds=10))
    machine.agrees()


def _rerun(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.trigger(0)
    machine.agrees()
    machine.rerun(0)
    machine.agrees()


def _backfilled(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.look(61)
    machine.agrees()
    machine.end_call(0, fails=False)
    machine.agrees()
    machine.backfill(0, 1)
    machine.agrees()


def _calendars(machine: Machine) -> None:
    machine.put_calendar("x", 30, 120)
    machine.put("a", Spec(calendar="x"))
    machine.agrees()
    machine.remove_calendar(0)
    machine.agrees()


def _made_up_for(machine: Machine) -> None:
    machine.put("a", Spec())
    machine.pause(0, None)
    machine.let_pass(600)
    machine.agrees()
    machine.backfill(0, 1)
    machine.agrees()
    machine.resume(0)
    machine.agrees()


def _orphaned(machine: Machine) -> None:
    machine.put("a", Spec(delivery="at_most_once"))
    machine.look(61)
    machine.agrees()
    machine.die()
    machine.agrees()
    machine.look(0)
    machine.agrees()


MUTANTS: Mapping[Mutant, Callable[[Machine], None]] = {
    pause_leaves_due: _paused,
    pause_accounts_for_nothing: _paused,
    cancel_counts_as_a_run: _cancelled,
    outcomes_are_not_counted: _failed,
    revert_keeps_version: _reverted,
    remove_leaves_the_job: _removed,
    edit_moves_the_phase: _edited,
    rerun_of_the_unfinished: _rerun,
    backfill_of_the_done: _backfilled,
    calendar_in_use_goes: _calendars,
    count_is_lost: _made_up_for,
    deaths_are_not_counted: _orphaned,
}
"""Each with a history that is played with and without it."""
