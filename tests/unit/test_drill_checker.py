"""The judgement of a drill can fail: each broken promise, planted alone in honest evidence, is found and named."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from drill_evidence import T0, TTL_SECONDS, at, honest

from scheduler_core.drill.checker import check
from scheduler_core.drill.evidence import Call, DrillJob, Evidence, FaultRecord, Moment, RunRecord
from scheduler_core.drill.verdict import KEPT_PER_KIND, PROMISES, Kind

KILLS = ("kill", "kill", "kill")
MIXED = ("kill", "stop-10", "kill", "stop", "kill")
NOBODY = UUID(int=0)


def runs_of(evidence: Evidence, job_id: str) -> list[RunRecord]:
    return [run for run in evidence.runs if run.job_id == job_id]


def plain_run(evidence: Evidence, job_id: str = "tick", after_seconds: float = 0.5) -> RunRecord:
    """A run far from any fault, called once."""
    return next(run for run in runs_of(evidence, job_id) if run.scheduled_for > at(after_seconds))


def lines(evidence: Evidence, run: RunRecord) -> tuple[Call, Call]:
    began, ended = (call for call in evidence.calls if call.run_id == run.run_id)
    return began, ended


def without(evidence: Evidence, *gone: RunRecord) -> Evidence:
    ids = {run.run_id for run in gone}
    return replace(
        evidence,
        runs=tuple(run for run in evidence.runs if run.run_id not in ids),
        calls=tuple(call for call in evidence.calls if call.run_id not in ids),
    )


def changed(evidence: Evidence, run: RunRecord, **fields: object) -> Evidence:
    new = replace(run, **fields)  # type: ignore[arg-type]
    return replace(evidence, runs=tuple(new if r.run_id == run.run_id else r for r in evidence.runs))


def more_calls(evidence: Evidence, *calls: Call) -> Evidence:
    return replace(evidence, calls=(*evidence.calls, *calls))


def again(evidence: Evidence, run: RunRecord, later_seconds: float, **fields: object) -> Evidence:
    """The run is called once more, in the same way, so much later."""
    shift = timedelta(seconds=later_seconds)
    return more_calls(
        evidence,
        *(replace(line, at=line.at + shift, **fields) for line in lines(evidence, run)),  # type: ignore[arg-type]
    )


def merged(evidence: Evidence, first: int, last: int, count: int | None, **fields: object) -> Evidence:
    """Ticks `first` to `last` are not executed: one missed row stands for them."""
    gone = runs_of(evidence, "skips")[first : last + 1]
    row = replace(
        gone[-1],
        **{
            "status": "missed", "reason": "misfire", "attempts": 0, "instance_id": None, "started_at": None,
            "missed_count": count, "missed_from": gone[0].scheduled_for, **fields,
        },
    )  # type: ignore[arg-type]  # fmt: skip
    kept = without(evidence, *gone)
    return replace(kept, runs=(*kept.runs, row))


@pytest.mark.parametrize("kinds", [(), ("kill",), KILLS, MIXED])
def test_honest_evidence_is_not_found_guilty(kinds: tuple[str, ...]) -> None:
    verdict = check(honest(kinds))
    assert verdict.findings == ()
    assert verdict.ok
    accounting = verdict.accounting
    assert accounting.expected == accounting.recorded + sum(accounting.missed.values())


def test_calls_that_a_kill_repeats_are_counted_and_excused() -> None:
    verdict = check(honest(KILLS))
    assert verdict.witnessed.repeated_after_fault > 0
    assert verdict.statuses["lost"] > 0
    assert verdict.duplicate_executions == 0
    assert verdict.witnessed.calls == verdict.witnessed.fires_called + verdict.witnessed.repeated_after_fault


def test_without_faults_each_fire_is_called_once() -> None:
    verdict = check(honest(()))
    assert verdict.witnessed.per_fire == 1


def test_a_missed_row_accounts_for_what_it_counts() -> None:
    verdict = check(merged(honest(), 3, 8, 6))
    assert verdict.ok
    assert verdict.accounting.missed == {"misfire": 6}


def test_occurrences_outside_the_window_are_nobodys_fault() -> None:
    evidence = honest()
    inside = replace(evidence, began_at=at(1.0), ended_at=at(4.0))
    assert check(inside).ok
    assert check(replace(evidence, ended_at=at(500))).counts[Kind.UNACCOUNTED] > 1_000


def lose_a_row(evidence: Evidence) -> Evidence:
    return without(evidence, plain_run(evidence))


def lose_the_first(evidence: Evidence) -> Evidence:
    return without(evidence, runs_of(evidence, "long")[0])


def fire_off_schedule(evidence: Evidence) -> Evidence:
    run = plain_run(evidence)
    extra = replace(run, run_id=NOBODY, scheduled_for=run.scheduled_for + timedelta(microseconds=1), status="skipped")
    return replace(evidence, runs=(*evidence.runs, extra))


def fire_before_the_first(evidence: Evidence) -> Evidence:
    first = runs_of(evidence, "tick")[0]
    extra = replace(first, run_id=NOBODY, scheduled_for=first.scheduled_for - timedelta(milliseconds=50))
    return replace(evidence, runs=(*evidence.runs, replace(extra, status="skipped")))


def fire_an_unknown_job(evidence: Evidence) -> Evidence:
    extra = replace(plain_run(evidence), run_id=NOBODY, job_id="stranger", status="skipped")
    return replace(evidence, runs=(*evidence.runs, extra))


def count_one_too_many(evidence: Evidence) -> Evidence:
    return merged(evidence, 3, 8, 7)


def count_nothing(evidence: Evidence) -> Evidence:
    return merged(evidence, 3, 8, None)


def fire_what_is_missed(evidence: Evidence) -> Evidence:
    fired = runs_of(evidence, "skips")[5]
    kept = merged(evidence, 3, 8, 6)
    return replace(kept, runs=(*kept.runs, replace(fired, status="skipped")))


def miss_what_is_missed(evidence: Evidence) -> Evidence:
    kept = merged(evidence, 3, 8, 6)
    (row,) = (run for run in kept.runs if run.status == "missed")
    inside = replace(row, run_id=NOBODY, scheduled_for=row.scheduled_for - timedelta(milliseconds=100), missed_count=5)
    return replace(kept, runs=(*kept.runs, inside))


def write_two_rows(evidence: Evidence) -> Evidence:
    extra = replace(plain_run(evidence), run_id=NOBODY, status="skipped")
    return replace(evidence, runs=(*evidence.runs, extra))


def leave_a_run_waiting(evidence: Evidence) -> Evidence:
    run = plain_run(evidence)
    return changed(evidence, run, status="pending", finished_at=None)


def number_a_term_twice(evidence: Evidence) -> Evidence:
    last = evidence.terms[-1]
    twin = replace(last, instance_id="i-102", acquired_at=last.acquired_at - timedelta(microseconds=1))
    return replace(evidence, terms=(*evidence.terms[:-1], twin, last))


def let_terms_fall(evidence: Evidence) -> Evidence:
    last = evidence.terms[-1]
    return replace(
        evidence, terms=(*evidence.terms, replace(last, term=0, acquired_at=last.acquired_at + timedelta(1)))
    )


def let_terms_overlap(evidence: Evidence) -> Evidence:
    first, *rest = evidence.terms
    return replace(evidence, terms=(replace(first, ended_at=rest[0].acquired_at + timedelta(seconds=1)), *rest))


def let_a_stranger_own_it(evidence: Evidence) -> Evidence:
    return changed(evidence, plain_run(evidence), instance_id="i-999")


def let_a_follower_call_it(evidence: Evidence) -> Evidence:
    run = plain_run(evidence)
    ids = {run.run_id}
    calls = tuple(replace(call, pid=103) if call.run_id in ids else call for call in evidence.calls)
    return replace(evidence, calls=calls)


def start_after_trust_ended(evidence: Evidence) -> Evidence:
    """In the record: the row says it."""
    run = plain_run(evidence)
    return changed(evidence, run, started_at=evidence.terms[1].acquired_at + timedelta(seconds=TTL_SECONDS + 0.001))


def call_after_trust_ended(evidence: Evidence) -> Evidence:
    """In the witness file: the record does not show it."""
    run = plain_run(evidence)
    began, ended = lines(evidence, run)
    late = evidence.terms[1].acquired_at + timedelta(seconds=TTL_SECONDS + 0.001)
    kept = tuple(call for call in evidence.calls if call.run_id != run.run_id)
    return replace(evidence, calls=(*kept, replace(began, at=late), replace(ended, at=late + timedelta(seconds=0.001))))


def call_before_the_term(evidence: Evidence) -> Evidence:
    run = plain_run(evidence)
    began, ended = (replace(line, term=2, pid=102) for line in lines(evidence, run))
    kept = tuple(call for call in evidence.calls if call.run_id != run.run_id)
    return replace(evidence, calls=(*kept, began, ended))


def call_an_at_most_once_again(evidence: Evidence) -> Evidence:
    return again(evidence, plain_run(evidence, "once"), 0.1)


def call_a_lost_one_again(evidence: Evidence) -> Evidence:
    """The fault that would excuse an at_least_once job excuses nothing here."""
    run = next(run for run in runs_of(evidence, "once") if run.status == "lost")
    (began,) = (call for call in evidence.calls if call.run_id == run.run_id)
    return more_calls(
        evidence, replace(began, term=2, pid=102, at=evidence.terms[1].acquired_at + timedelta(seconds=1))
    )


def call_again(evidence: Evidence) -> Evidence:
    return again(evidence, plain_run(evidence), 0.1)


def call_beside(evidence: Evidence) -> Evidence:
    return again(evidence, plain_run(evidence, "long"), 0.1)


def try_again_beside(evidence: Evidence) -> Evidence:
    return again(evidence, plain_run(evidence, "long"), 0.1, attempt=2)


def call_beside_one_without_end(evidence: Evidence) -> Evidence:
    run = plain_run(evidence)
    began, ended = lines(evidence, run)
    second = (
        replace(began, at=began.at + timedelta(seconds=0.1)),
        replace(ended, at=ended.at + timedelta(seconds=0.1)),
    )
    kept = tuple(call for call in evidence.calls if call != ended)
    return replace(evidence, calls=(*kept, replace(second[0], pid=103, term=1), second[1]))


def call_a_further_attempt(evidence: Evidence) -> Evidence:
    return again(evidence, plain_run(evidence), 0.1, attempt=2)


def call_what_has_no_row(evidence: Evidence) -> Evidence:
    began, ended = (replace(line, run_id=NOBODY) for line in lines(evidence, plain_run(evidence)))
    return more_calls(evidence, began, ended)


def succeed_uncalled(evidence: Evidence) -> Evidence:
    run = plain_run(evidence)
    return replace(evidence, calls=tuple(call for call in evidence.calls if call.run_id != run.run_id))


def succeed_unended(evidence: Evidence) -> Evidence:
    _, ended = lines(evidence, plain_run(evidence))
    return replace(evidence, calls=tuple(call for call in evidence.calls if call != ended))


def skip_what_was_called(evidence: Evidence) -> Evidence:
    return changed(evidence, plain_run(evidence), status="skipped", reason="overlap", attempts=0)


def end_without_begin(evidence: Evidence) -> Evidence:
    began, _ = lines(evidence, plain_run(evidence))
    return more_calls(evidence, replace(began, moment=Moment.ENDED, pid=103, at=began.at + timedelta(seconds=1)))


def never_fire_again(evidence: Evidence) -> Evidence:
    *rest, last = evidence.faults
    return replace(evidence, faults=(*rest, replace(last, first_fire_at=None, term_after=None)))


PLANTED: list[tuple[Callable[[Evidence], Evidence], set[Kind]]] = [
    (lose_a_row, {Kind.UNACCOUNTED}),
    (lose_the_first, {Kind.UNACCOUNTED}),
    (fire_off_schedule, {Kind.UNEXPECTED_RUN}),
    (fire_before_the_first, {Kind.UNEXPECTED_RUN}),
    (fire_an_unknown_job, {Kind.UNEXPECTED_RUN}),
    (count_one_too_many, {Kind.WRONG_MISSED_COUNT}),
    (count_nothing, {Kind.WRONG_MISSED_COUNT}),
    (fire_what_is_missed, {Kind.ACCOUNTED_TWICE}),
    (miss_what_is_missed, {Kind.ACCOUNTED_TWICE}),
    (write_two_rows, {Kind.DUPLICATE_RUN}),
    (leave_a_run_waiting, {Kind.UNFINISHED}),
    (number_a_term_twice, {Kind.TERM_ORDER}),
    (let_terms_fall, {Kind.TERM_ORDER}),
    (let_terms_overlap, {Kind.TERM_ORDER}),
    (let_a_stranger_own_it, {Kind.WRONG_OWNER}),
    (let_a_follower_call_it, {Kind.WRONG_OWNER}),
    (start_after_trust_ended, {Kind.STALE_TERM}),
    (call_after_trust_ended, {Kind.STALE_TERM}),
    (call_before_the_term, {Kind.STALE_TERM}),
    (call_an_at_most_once_again, {Kind.AT_MOST_ONCE}),
    (call_a_lost_one_again, {Kind.AT_MOST_ONCE}),
    (call_again, {Kind.DUPLICATE_EXECUTION}),
    (call_beside, {Kind.CONCURRENT_CALLS}),
    (try_again_beside, {Kind.CONCURRENT_CALLS}),
    (call_beside_one_without_end, {Kind.CONCURRENT_CALLS, Kind.WRONG_OWNER}),
    (call_a_further_attempt, {Kind.UNRECORDED_CALL}),
    (call_what_has_no_row, {Kind.UNRECORDED_CALL}),
    (succeed_uncalled, {Kind.SUCCEEDED_UNCALLED}),
    (succeed_unended, {Kind.SUCCEEDED_UNCALLED}),
    (skip_what_was_called, {Kind.CALLED_THOUGH_NOT_RUN}),
    (end_without_begin, {Kind.BROKEN_WITNESS}),
    (never_fire_again, {Kind.NO_FIRE}),
]


@pytest.mark.parametrize(("plant", "kinds"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_violation_is_found_and_named(plant: Callable[[Evidence], Evidence], kinds: set[Kind]) -> None:
    verdict = check(plant(honest(KILLS)))
    assert set(verdict.counts) == kinds
    assert not verdict.ok
    assert {finding.kind for finding in verdict.findings} == kinds
    assert all(finding.subject and finding.sentence and finding.promise for finding in verdict.findings)


def test_every_kind_is_planted_and_has_a_promise() -> None:
    assert set.union(*(kinds for _, kinds in PLANTED)) == set(Kind) == set(PROMISES)


@pytest.mark.parametrize(
    ("kind", "hit_leader", "excuses"),
    [
        ("stop", True, True),
        ("pg-blackhole", True, True),
        ("redis-blackhole-up", True, True),
        ("pg-restart", False, True),
        ("all-down", False, True),
        ("redis-flush", True, False),
        ("redis-flush", False, False),
        ("follower-kill", False, False),
        ("stop", False, False),
    ],
)
def test_only_a_fault_that_hit_the_owner_excuses_a_second_call(kind: str, hit_leader: bool, excuses: bool) -> None:
    evidence = honest(())
    run = plain_run(evidence)
    assert run.started_at is not None
    fault = FaultRecord(1, kind, "-", hit_leader, 1, run.started_at + timedelta(seconds=0.05), None, at(2), 1)
    verdict = check(replace(again(evidence, run, 0.1), faults=(fault,)))
    assert verdict.ok is excuses
    assert verdict.witnessed.repeated_after_fault == int(excuses)
    assert verdict.duplicate_executions == int(not excuses)


def test_a_fault_that_hit_somebody_else_excuses_nothing() -> None:
    evidence = honest(("kill",))
    run = plain_run(evidence)
    of_the_next_leader = FaultRecord(2, "stop", "leader", True, 2, run.scheduled_for, None, at(1), 2)
    verdict = check(replace(again(evidence, run, 0.1), faults=(*evidence.faults, of_the_next_leader)))
    assert set(verdict.counts) == {Kind.DUPLICATE_EXECUTION}


def test_a_death_excuses_whatever_the_fault_was_called() -> None:
    evidence = honest(KILLS)
    faults = tuple(replace(fault, kind="fork") for fault in evidence.faults)
    verdict = check(replace(evidence, faults=faults))
    assert verdict.ok
    assert verdict.witnessed.repeated_after_fault > 0
    undying = tuple(replace(replica, ended_at=None, exit_code=None) for replica in evidence.replicas)
    assert check(replace(evidence, faults=faults, replicas=undying)).counts[Kind.CONCURRENT_CALLS] > 0


@pytest.mark.parametrize("seconds_off", [-10.0, 5.0])
def test_a_fault_at_another_time_excuses_nothing(seconds_off: float) -> None:
    evidence = honest((), pad_seconds=20.0)
    run = plain_run(evidence, after_seconds=12)
    hit_at = run.scheduled_for + timedelta(seconds=seconds_off)
    fault = FaultRecord(1, "stop", "leader", True, 1, hit_at, hit_at, hit_at, 1)
    verdict = check(replace(again(evidence, run, 0.1), faults=(fault,)))
    assert set(verdict.counts) == {Kind.DUPLICATE_EXECUTION}


def test_a_pid_that_was_used_again_is_not_taken_for_the_dead() -> None:
    """A process that died long ago does not excuse its namesake."""
    evidence = honest((), pad_seconds=20.0)
    run = plain_run(evidence, after_seconds=12)
    namesake = replace(evidence.replicas[0], started_at=T0 - timedelta(hours=1), ended_at=at(-2), exit_code=-9)
    twice = replace(again(evidence, run, 0.1), replicas=(replace(namesake, instance_id="old"), *evidence.replicas))
    assert set(check(twice).counts) == {Kind.DUPLICATE_EXECUTION}


def stopped_and_woken(due_after_stop_seconds: float, count: int) -> Evidence:
    """The leader of term 1 is stopped at 2 s, woken at 6 s, and begins `count` runs then."""
    evidence = honest(("stop-10",))
    fault = evidence.faults[0]
    assert fault.healed_at is not None
    due = [run for run in runs_of(evidence, "tick") if run.scheduled_for <= fault.injected_at][-count:]
    if due_after_stop_seconds > 0:
        due = [run for run in runs_of(evidence, "tick") if run.scheduled_for > fault.injected_at][1 : count + 1]
    calls = [call for call in evidence.calls if call.run_id not in {run.run_id for run in due}]
    woken = fault.healed_at + timedelta(seconds=0.002)
    for run in due:
        began = Call(Moment.BEGAN, run.job_id, run.scheduled_for, 1, 1, run.run_id, 101, woken)
        calls += [began, replace(began, moment=Moment.ENDED)]
    # A successor would have come long ago: only the trust window can tell.
    terms = (evidence.terms[0], replace(evidence.terms[1], acquired_at=at(2.5)))
    return replace(evidence, calls=tuple(calls), terms=terms)


def test_one_call_at_the_moment_of_waking_can_not_be_prevented() -> None:
    verdict = check(stopped_and_woken(0, 1))
    assert Kind.STALE_TERM not in verdict.counts
    assert verdict.witnessed.begun_on_waking == 1


def test_the_call_of_one_that_woke_may_come_after_its_heirs() -> None:
    evidence = stopped_and_woken(0, 1)
    (woken,) = (c for c in evidence.calls if c.at > at(6) and c.scheduled_for < at(2.5) and c.moment is Moment.BEGAN)
    by_heir = replace(woken, term=2, pid=102, at=at(5.6))
    both = more_calls(evidence, by_heir, replace(by_heir, moment=Moment.ENDED, at=at(5.601)))
    verdict = check(both)
    assert dict(verdict.counts) == dict(check(evidence).counts)
    assert verdict.witnessed.repeated_after_fault == check(evidence).witnessed.repeated_after_fault + 1
    late = replace(woken, at=at(9))
    assert check(more_calls(both, late, replace(late, moment=Moment.ENDED))).counts[Kind.STALE_TERM] == 1


def test_timers_that_fire_after_waking_are_found() -> None:
    """I7: a timer that fires after SIGCONT must not start anything."""
    assert check(stopped_and_woken(0, 3)).counts[Kind.STALE_TERM] == 2
    assert check(stopped_and_woken(0.05, 1)).counts[Kind.STALE_TERM] == 1


def test_findings_are_counted_all_and_kept_few() -> None:
    evidence = honest()
    verdict = check(replace(evidence, runs=(), calls=()))
    assert verdict.counts[Kind.UNACCOUNTED] == verdict.accounting.expected
    assert len(verdict.findings) == KEPT_PER_KIND


def test_a_long_drill_is_judged_whole() -> None:
    """100,000 occurrences and 200,000 lines; linear, so no clock is asked (it takes about 2 s)."""
    jobs = tuple(DrillJob(f"tick-{n}", at(0.001 * n), 10) for n in range(20))
    evidence = honest(KILLS * 5, jobs=jobs, pad_seconds=21.0)
    assert len(evidence.runs) >= 100_000
    began = time.process_time()
    verdict = check(evidence)
    assert verdict.ok
    print(f"judged {len(evidence.runs)} runs in {time.process_time() - began:.1f} s")
