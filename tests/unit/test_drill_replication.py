"""What an asynchronous standby had not heard of is named, and is no broken promise: of a synchronous one it is."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from drill_evidence import at, honest
from rich.console import Console

from scheduler_core.drill.checker import check
from scheduler_core.drill.document import as_document
from scheduler_core.drill.evidence import Evidence, Failover, FaultRecord, Moment, RunRecord
from scheduler_core.drill.report import render
from scheduler_core.drill.takeover import takeover
from scheduler_core.drill.verdict import Kind

KILLED_SECONDS = 2.0
LAG_SECONDS = 0.4


def failed_over(kind: str = "pg-failover") -> Evidence:
    """A drill of one fault: the primary dies, its standby lacks the last 400 ms."""
    failover = Failover(at(KILLED_SECONDS), at(KILLED_SECONDS - LAG_SECONDS)) if kind == "pg-failover" else None
    fault = FaultRecord(
        1, kind, "Postgres", False, 1, at(KILLED_SECONDS), None, at(KILLED_SECONDS + 0.4), 1, (kind,), failover
    )
    return replace(honest((), pad_seconds=8.0), faults=(fault,))


def run_at(evidence: Evidence, seconds: float, job_id: str = "tick") -> RunRecord:
    """The first run of a job after an instant."""
    return next(run for run in evidence.runs if run.job_id == job_id and run.scheduled_for >= at(seconds))


def claimed_again(evidence: Evidence, run: RunRecord, later_seconds: float = 0.6) -> Evidence:
    """The record forgot the run; its occurrence was claimed and called anew."""
    shift, new_id = timedelta(seconds=later_seconds), UUID(int=run.run_id.int ^ 1)
    assert run.started_at is not None
    assert run.finished_at is not None
    anew = replace(run, run_id=new_id, started_at=run.started_at + shift, finished_at=run.finished_at + shift)
    calls = tuple(
        replace(call, run_id=new_id, at=call.at + shift) for call in evidence.calls if call.run_id == run.run_id
    )
    runs = tuple(anew if other.run_id == run.run_id else other for other in evidence.runs)
    return replace(evidence, runs=runs, calls=(*evidence.calls, *calls))


def forgotten_end(evidence: Evidence, run: RunRecord) -> Evidence:
    """The row is from before the end of its call, and was delivered once more."""
    again = tuple(
        replace(call, at=call.at + timedelta(seconds=0.6)) for call in evidence.calls if call.run_id == run.run_id
    )
    told = replace(run, deliveries=1)
    runs = tuple(told if other.run_id == run.run_id else other for other in evidence.runs)
    return replace(evidence, runs=runs, calls=(*evidence.calls, *again))


def test_a_run_that_the_standby_had_not_heard_of_is_named() -> None:
    evidence = failed_over()
    lost = run_at(evidence, KILLED_SECONDS - 0.2)
    verdict = check(claimed_again(evidence, lost))
    assert verdict.ok, verdict.findings
    named = verdict.witnessed.not_replicated
    assert (named.count, named.called_again, named.at_most_once_again) == (1, 1, 0)
    assert str(lost.run_id) in named.first[0].sentence
    assert "has no row; the occurrence was called again" in named.first[0].sentence
    assert verdict.witnessed.repeated_after_fault == 0, "it is no repetition of a run that the record has"


def test_of_at_most_once_jobs_it_is_said_apart() -> None:
    evidence = failed_over()
    once = run_at(evidence, KILLED_SECONDS - 0.3, "once")
    for lost in (claimed_again(evidence, once), forgotten_end(evidence, once)):
        verdict = check(lost)
        assert verdict.ok, verdict.findings
        assert verdict.witnessed.not_replicated.at_most_once_again == 1
    synchronous = failed_over("pg-failover-sync")
    once = run_at(synchronous, KILLED_SECONDS - 0.3, "once")
    assert dict(check(forgotten_end(synchronous, once)).counts) == {Kind.AT_MOST_ONCE: 1}


def test_a_row_from_before_its_call_is_named_too() -> None:
    evidence = failed_over()
    lost = run_at(evidence, KILLED_SECONDS - 0.2)
    verdict = check(forgotten_end(evidence, lost))
    assert verdict.ok, verdict.findings
    assert verdict.witnessed.not_replicated.count == 1
    assert "its row tells of another call" in verdict.witnessed.not_replicated.first[0].sentence


def test_a_start_that_was_durable_right_before_the_kill_is_called_right_after_it() -> None:
    """Found by a trace: its start was on the old primary alone, and its first line came 12 ms after the kill."""
    evidence = failed_over()
    verdict = check(forgotten_end(evidence, run_at(evidence, KILLED_SECONDS, "once")))
    assert verdict.ok, verdict.findings
    assert verdict.witnessed.not_replicated.at_most_once_again == 1
    late = check(forgotten_end(evidence, run_at(evidence, KILLED_SECONDS + 0.4, "once")))
    assert late.counts == {Kind.AT_MOST_ONCE: 1}


def test_what_the_standby_had_is_not_explained_by_its_promotion() -> None:
    evidence = failed_over()
    heard_of = run_at(evidence, KILLED_SECONDS - LAG_SECONDS - 0.3)
    verdict = check(claimed_again(evidence, heard_of))
    assert dict(verdict.counts) == {Kind.UNRECORDED_CALL: 1}
    assert verdict.witnessed.not_replicated.count == 0


def test_what_was_claimed_on_the_new_primary_is_not_explained_either() -> None:
    evidence = failed_over()
    verdict = check(claimed_again(evidence, run_at(evidence, KILLED_SECONDS + 1.1)))
    assert dict(verdict.counts) == {Kind.UNRECORDED_CALL: 1}


def test_of_a_synchronous_standby_nothing_may_be_lacking() -> None:
    evidence = failed_over("pg-failover-sync")
    verdict = check(claimed_again(evidence, run_at(evidence, KILLED_SECONDS - 0.2)))
    assert dict(verdict.counts) == {Kind.UNRECORDED_CALL: 1}


def under_term(evidence: Evidence, run: RunRecord, term: int) -> Evidence:
    """The run was called under a term of which the record knows nothing."""
    calls = tuple(replace(c, term=term) if c.run_id == run.run_id else c for c in evidence.calls)
    return replace(evidence, calls=calls)


def test_a_term_that_the_standby_had_not_heard_of_is_nobodys_fault() -> None:
    evidence = failed_over()
    assert check(under_term(evidence, run_at(evidence, KILLED_SECONDS - 0.2), 7)).ok
    earlier = run_at(evidence, KILLED_SECONDS - LAG_SECONDS - 0.3)
    assert dict(check(under_term(evidence, earlier, 7)).counts) == {Kind.WRONG_OWNER: 1}
    synchronous = failed_over("pg-failover-sync")
    assert not check(under_term(synchronous, run_at(synchronous, KILLED_SECONDS - 0.2), 7)).ok


def test_a_call_that_never_ended_was_begun_and_no_more() -> None:
    evidence = failed_over()
    lost = run_at(evidence, KILLED_SECONDS - 0.2, "long")
    calls = tuple(c for c in evidence.calls if c.run_id != lost.run_id or c.moment is Moment.BEGAN)
    runs = tuple(run for run in evidence.runs if run.run_id != lost.run_id)
    verdict = check(replace(evidence, runs=runs, calls=calls))
    assert dict(verdict.counts) == {Kind.UNACCOUNTED: 1}, "that nobody called it again is for the accounts"
    assert "was begun under term" in verdict.witnessed.not_replicated.first[0].sentence


def test_the_report_and_the_document_name_it_apart_from_findings() -> None:
    evidence = failed_over()
    lost = run_at(evidence, KILLED_SECONDS - 0.2)
    evidence = claimed_again(evidence, lost)
    verdict, times = check(evidence), takeover(evidence)
    page = io.StringIO()
    Console(width=80, file=page).print(render(evidence, verdict, times))
    text = page.getvalue()
    assert "not replicated" in text
    assert "acknowledged, not replicated × 1" in text
    assert "Held." in text
    document = as_document(evidence, verdict, times)
    assert document["not_replicated"]["count"] == document["not_replicated"]["called_again"] == 1
    assert str(lost.run_id) in document["not_replicated"]["first"][0]["sentence"]
    assert document["unaccounted"] == document["duplicate_executions"] == 0


def test_pairs_that_were_played_are_counted() -> None:
    evidence = failed_over()
    first = evidence.faults[0]
    pair = replace(first, kind="two", parts=("kill", "pg-failover"))
    same = replace(pair, number=2, parts=("pg-failover", "kill"))
    nobody = replace(pair, number=3, parts=("kill", "pg-full"), term_before=0)
    evidence = replace(evidence, faults=(first, pair, same, nobody), pairs=750)
    assert as_document(evidence, check(evidence), takeover(evidence))["pairs"] == {"played": 1, "possible": 750}
