"""Guards of the fire path, each taken out from outside, in SQL and in Python: what the simulation has to notice.

Those of the SQL that `tests/model` and the tests of claim, outcomes and terms know are among them, by the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from scheduler_core.domain.planning.planning import Plan, StoredJob, plan
from scheduler_core.domain.runs.ending import Ending
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.fire.attempts import Attempts
from scheduler_core.engine.fire.claiming import Claiming
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.overlap_gate import OverlapGate
from scheduler_core.engine.fire.recorder import Recorder
from scheduler_core.engine.operations import jobs as operations
from scheduler_core.storage.fire import control_session, runs
from scheduler_core.storage.fire.runs import RunStore

from .faults import FAULTS, FireFault

Patch = pytest.MonkeyPatch

FENCE = "WHERE term = :term AND nonce = :nonce FOR SHARE"


def _rewrite(patch: Patch, module: Any, name: str, old: str, new: str) -> None:
    text = getattr(module, name)
    assert old in text, f"{name} has changed"
    patch.setattr(module, name, text.replace(old, new))


# In the SQL.


def no_for_share(patch: Patch) -> None:
    """The fence of a claim is read without a lock."""
    _rewrite(patch, runs, "CLAIM", FENCE, FENCE.removesuffix(" FOR SHARE"))


def for_key_share(patch: Patch) -> None:
    """The fence of a claim is locked FOR KEY SHARE."""
    _rewrite(patch, runs, "CLAIM", FENCE, FENCE.replace("FOR SHARE", "FOR KEY SHARE"))


def lease_is_authority(patch: Patch) -> None:
    """Who believes that it leads writes, whichever term stands."""
    _rewrite(
        patch, runs, "CLAIM", FENCE, "WHERE CAST(:nonce AS text) IS NOT NULL AND CAST(:term AS bigint) > 0 FOR SHARE"
    )


def claim_without_compare(patch: Patch) -> None:
    """The leader's row is moved, whatever it says."""
    old, new = "WHERE term = $5 AND nonce IS NOT DISTINCT FROM $6", "WHERE CAST($6 AS text) IS NULL OR true"
    _rewrite(patch, control_session, "CLAIM_TERM", old, new)


def record_without_guard(patch: Patch) -> None:
    """An outcome is recorded whoever owns the run."""
    _rewrite(patch, runs, "RECORD", "AND r.instance_id = :instance_id AND r.term = t.term", "")


def reap_the_living(patch: Patch) -> None:
    """Whoever has begun a run is reaped, though its life witness stands, and its run is begun again."""
    for name in ("OWNERS", "REAP"):
        text = getattr(runs, name)
        patch.setattr(
            runs,
            name,
            text.replace("{schema}.is_alive(i) IS TRUE", "false").replace(
                "{schema}.witness_held(i.life_key)", "{schema}.witness_held(i.life_key) AND false"
            ),
        )


def adopt_in_the_window(patch: Patch) -> None:
    """A run is adopted while its living owner may still begin it."""
    old = "(SELECT acquired_at FROM fence) < clock_timestamp() - make_interval(secs => :trust)"
    _rewrite(patch, runs, "ADOPT", old, "CAST(:trust AS double precision) >= 0")


def lost_claim_forgotten(patch: Patch) -> None:
    """A leader does not adopt what it claimed itself in this term, and was never told of."""
    old = "r.created_at < clock_timestamp() - make_interval(secs => :unanswered)"
    _rewrite(patch, runs, "ADOPT", old, "CAST(:unanswered AS double precision) < 0")

    async def nothing_read_again(store: RunStore, statement: str, parameters: Any, _real: Any = RunStore._fetch) -> Any:
        rows = await _real(store, statement, parameters)
        return [] if statement is runs.CLAIMED else rows

    patch.setattr(RunStore, "_fetch", nothing_read_again)


def locks_in_another_order(patch: Patch) -> None:
    """An outcome's jobs are locked in the order opposite to a claim's."""
    _rewrite(patch, runs, "RECORD", "    ORDER BY job_id\n", "    ORDER BY job_id DESC\n")


def count_gets_lost(patch: Patch) -> None:
    """What a claim counts is not written down."""
    _rewrite(
        patch, runs, "CLAIM", "WHERE (f.job_id IN (SELECT job_id FROM moved)) IS TRUE", "WHERE f.missed_count IS NULL"
    )


def counted_twice(patch: Patch) -> None:
    """A batch that is sent again after a lost reply does not look for its own traces."""
    _rewrite(
        patch, runs, "RECORD", "AND r.attempt <= t.attempt AND (r.attempt < t.attempt OR t.outcome IS NULL)\n", "\n"
    )
    patch.setattr(
        runs,
        "RECORD",
        runs.RECORD.replace("(r.status IN {waiting} OR r.status = 'running'", "(true OR r.status = 'running'"),
    )


# In the Python.


def start_without_trust(patch: Patch) -> None:
    """A run is begun without asking the trust window."""
    patch.setattr(LeaderTrust, "allows", lambda window, run: True)


def start_is_not_durable(patch: Patch) -> None:
    """What is at_most_once is called before anybody can know."""

    async def mutant(attempts: Attempts, active: Any) -> Ending | None:
        active.is_durable = True
        return None

    patch.setattr(Attempts, "_start_durably", mutant)


def plans_from_now(patch: Patch) -> None:
    """What fell due while nobody led is passed over."""

    def mutant(claiming: Claiming, job: StoredJob, now: datetime) -> Plan:
        cursor = job.next_run
        if cursor is not None and cursor < now:
            cursor = job.schedule.next_after(now)
        made = plan(replace(job, next_run=cursor), now)
        return replace(made, job=job)

    patch.setattr(Claiming, "calculate_next_run", mutant)


def outcomes_are_dropped(patch: Patch) -> None:
    """An outcome that can't be written at once is given up."""
    write = Recorder._write_batch

    async def mutant(recorder: Recorder, outcomes: Any, written: Any) -> None:
        record = recorder._runs.record

        async def once(batch: Any, instance_id: str) -> Any:
            try:
                return await record(batch, instance_id)
            except Exception:
                return await record([], instance_id)

        class Runs:
            def __getattr__(self, name: str) -> Any:
                return getattr(before, name)

        before, stand_in = recorder._runs, Runs()
        stand_in.record = once  # type: ignore[attr-defined]
        recorder._runs = stand_in  # type: ignore[assignment]
        try:
            await write(recorder, outcomes, written)
        finally:
            recorder._runs = before

    patch.setattr(Recorder, "_write_batch", mutant)


def turn_is_never_over(patch: Patch) -> None:
    """Whoever takes turns never gives the next one a chance."""
    patch.setattr(OverlapGate, "leave", lambda *_: None)


def pause_swallows(patch: Patch) -> None:
    """A pause and a resume count nothing of what fell due."""
    settle = operations.settlement

    def mutant(job: StoredJob, now: datetime, reason: str | None) -> Plan:
        made = settle(job, now, reason)
        return replace(made, missed=()) if reason == "paused" else made

    patch.setattr(operations, "settlement", mutant)


def keeps_what_it_can_not_start(patch: Patch) -> None:
    """Whoever leads no more hands nothing back."""

    def mutant(in_flight: InFlightRuns) -> None:
        in_flight._scheduled.clear()
        in_flight._waiting.clear()

    patch.setattr(InFlightRuns, "hand_back", mutant)


def _only(*names: str) -> Mapping[str, FireFault]:
    return {name: FAULTS[name] for name in names}


CUT_OFF = _only("stop", "stall", "cut_off", "cut_from_postgres", "postgres_hears_nothing", "postgres_is_not_heard")

MUTANTS: Mapping[Callable[[Patch], None], Mapping[str, FireFault]] = {
    no_for_share: _only("slow_disk", "resign", "kill", "end_session"),
    lease_is_authority: _only("slow_disk", "resign", "kill", "end_session", "stall"),
    claim_without_compare: FAULTS,
    record_without_guard: CUT_OFF,
    reap_the_living: CUT_OFF,
    count_gets_lost: FAULTS,
    counted_twice: FAULTS,
    start_without_trust: CUT_OFF,
    start_is_not_durable: FAULTS,
    plans_from_now: FAULTS,
    outcomes_are_dropped: CUT_OFF,
    turn_is_never_over: FAULTS,
    pause_swallows: FAULTS,
    keeps_what_it_can_not_start: FAULTS,
}
"""By guard: the faults among which it is missed."""

NOT_SEEN_YET: Mapping[Callable[[Patch], None], Mapping[str, FireFault]] = {
    for_key_share: _only("slow_disk", "resign", "kill", "end_session"),
    adopt_in_the_window: CUT_OFF,
    lost_claim_forgotten: _only("lost_replies", "end_some_session", "postgres_is_not_heard"),
    locks_in_another_order: _only("slow_disk"),
}
"""Guards that the simulation has not missed within half a minute: the model and the SQL's tests find them.
"""
