"""A short drill on embedded servers: the apparatus works, and what it collects adds up by arithmetic of our own."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from traces.checked import of_job, refusals
from traces.cycles import check as search_cycles
from traces.cycles import transactions
from traces.mutants import MUTANTS
from traces.replay import replay

from scheduler_core.drill.checker import check
from scheduler_core.drill.drill import run_drill
from scheduler_core.drill.evidence import DrillJob, Evidence, Moment
from scheduler_core.drill.schedule import DrillPlan
from scheduler_core.drill.trace import Event, Line, read_lines

LEASE_TTL_SECONDS = 1.0
FAULTS = ("kill", "stop", "redis-flush", "pg-terminate-control", "pg-reset", "kill-locked", "suicide", "pg-failover")
HIT_SERVERS = {"redis-flush", "pg-failover"}
ENDS_THE_TERM = {"kill", "stop", "pg-reset", "kill-locked", "suicide"}


def due(job: DrillJob, until: datetime) -> set[datetime]:
    every = timedelta(milliseconds=job.every_ms)
    return {job.starts_at + k * every for k in range((until - job.starts_at) // every + 1)}


def accounted(evidence: Evidence, job: DrillJob) -> set[datetime]:
    every = timedelta(milliseconds=job.every_ms)
    found = set()
    for run in evidence.runs:
        if run.job_id == job.job_id:
            count = run.missed_count or 1
            found |= {run.scheduled_for - k * every for k in range(count)}
    return found


@dataclass(frozen=True)
class Played:
    """A short drill, what it told, and the trace of it."""

    evidence: Evidence
    told: list[str]
    lines: list[Line]
    folder: Path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Shared by the tests of this file: it takes its time."""
    folder, told = tmp_path_factory.mktemp("drill"), list[str]()
    plan = DrillPlan(
        replicas=3,
        faults=FAULTS,
        count=len(FAULTS),
        seed=1,
        lease_ttl_seconds=LEASE_TTL_SECONDS,
        data_dir=folder,
        staging=None,
        all_down_seconds=1.0,
        keep=False,
        trace=folder / "trace.jsonl",
    )
    evidence = asyncio.run(run_drill(plan, told.append))
    lines = list(read_lines((folder / "trace.jsonl").read_text(encoding="utf-8").splitlines()))
    return Played(evidence, told, lines, folder)


def test_a_short_drill(played: Played) -> None:
    evidence, told = played.evidence, played.told

    assert {fault.kind for fault in evidence.faults} == set(FAULTS)
    for fault in evidence.faults:
        assert fault.first_fire_at is not None, told
        assert fault.injected_at < fault.first_fire_at
        assert fault.term_after is not None
        assert (fault.term_after > fault.term_before) or fault.kind not in ENDS_THE_TERM
        assert fault.hit_leader is (fault.kind not in HIT_SERVERS)
        assert "has not taken part again" not in fault.target, f"{fault}; logs in {played.folder}"

    finished = {run for run in evidence.runs if run.scheduled_for <= evidence.ended_at}
    assert {run.status for run in finished} <= {"succeeded", "failed", "skipped", "lost", "missed"}
    for job in evidence.jobs:
        assert due(job, evidence.ended_at) - accounted(evidence, job) == set(), job
    assert max(Counter((run.job_id, run.scheduled_for) for run in evidence.runs).values()) == 1

    # The witness agrees: what the record calls a success was called, at its instant or later.
    ended = {call.run_id for call in evidence.calls if call.moment is Moment.ENDED}
    began = {(call.run_id, call.term): call for call in evidence.calls if call.moment is Moment.BEGAN}
    for run in finished:
        if run.status == "succeeded":
            assert run.run_id in ended, run
    for call in began.values():
        # Claimed up to 50 ms ahead, and started at the instant. The database's clock is known as well as half of a
        # statement's way there and back, which takes milliseconds on a machine that is busy.
        assert call.at >= call.scheduled_for - timedelta(milliseconds=10)

    # The standby that was promoted lacked at most what its primary committed since it heard the last of it.
    (promoted,) = (fault.failover for fault in evidence.faults if fault.failover is not None)
    assert timedelta(0) <= promoted.killed_at - promoted.replicated_until < timedelta(seconds=3)
    verdict = check(evidence)
    assert verdict.ok, verdict.findings

    killed = [replica for replica in evidence.replicas if replica.exit_code == -9]
    assert len(killed) >= sum(fault.kind in {"kill", "kill-locked", "suicide"} for fault in evidence.faults)
    assert all(replica.ended_at is not None and replica.exit_code is not None for replica in evidence.replicas)
    assert all(replica.instance_id is not None for replica in evidence.replicas)
    assert [term.term for term in evidence.terms] == sorted({term.term for term in evidence.terms})


STEPS = (
    Event.TERM, Event.RESIGN, Event.CLAIM, Event.ADOPT, Event.BEGIN, Event.MARK, Event.END, Event.REAP,
)  # fmt: skip
MUTANT_SAMPLES = 12
"""Of each kind of line; the job has some two hundred lines, and each mutant is played in milliseconds."""


def test_each_line_of_its_trace_is_a_step_that_the_model_allows(played: Played) -> None:
    replayed = replay(played.lines)
    print(replayed)
    called = sum(call.moment is Moment.BEGAN for call in played.evidence.calls)
    assert replayed.by_event["begin"] == called, "each call is a line"
    assert replayed.by_event["term"] == len(played.evidence.terms)
    assert replayed.steps["evaluate_fence"] == replayed.steps["commit"] > 500
    assert replayed.beyond["a promoted standby that lacks the last commits"] == 1
    # What was inferred is the exception: an allowed trace is not one of which nothing was seen.
    assert replayed.inferred.total() < replayed.steps.total() / 5


def test_its_transactions_could_have_come_one_after_another(played: Played) -> None:
    graph = search_cycles(played.lines)
    assert len(list(transactions(played.lines))) > 500
    assert all(graph.counts[kind] for kind in ("ww", "wr", "rw", "time"))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_trace_with_a_line_that_is_not_as_it_was_is_refused(played: Played, mutant: str) -> None:
    lines = of_job(played.lines, "long")
    assert refusals(lines) == {}
    found: Counter[str] = Counter()
    for event in STEPS:
        places = [place for place, line in enumerate(lines) if line.event is event]
        for place in places[:: max(1, len(places) // MUTANT_SAMPLES)]:
            changed = MUTANTS[mutant](lines, place)
            if changed is None or _may_stand(mutant, lines, place):
                continue
            refused = refusals(changed)
            assert refused, f"{mutant}, line {place + 1}: {lines[place]}"
            found.update(list(refused))
    print(mutant, dict(found))
    assert found["replay"] > 30
    # Of a call the record tells nothing: only the model knows that it is missing, doubled, or another term's.
    assert found["cycles"] > 20


def _may_stand(mutant: str, lines: list[Line], place: int) -> bool:
    """Where the changed trace is one that may have been, too."""
    line = lines[place]
    later = [other for other in lines[place + 1 :] if other.run == line.run]
    match mutant, line.event:
        case "dropped", Event.BEGIN:  # of a call that nobody recorded
            return not any(_is_success(other) and (other.by, other.term) == (line.by, line.term) for other in later)
        case "dropped", Event.RESIGN:  # the last of all
            return not any(other.event is Event.TERM for other in lines[place:])
        case "swapped", _ if later:
            # The durable note of a call comes before it or after it; lines of one transaction have no order; and
            # somebody else's outcome may overtake a call.
            is_note = {line.event, later[0].event} == {Event.BEGIN, Event.MARK}
            is_one_transaction = line.tx is not None and later[0].tx == line.tx
            return is_note or is_one_transaction or later[0].event in (Event.LATE, Event.NOTE)
    return False


def _is_success(line: Line) -> bool:
    return line.event is Event.END and line.note == "succeeded"
