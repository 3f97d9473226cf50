"""Honest evidence of a drill that never took place, by code of its own, for tests of the judgement.

Three replicas of which one leads. Faults hit the leader: a kill is taken over after 30 ms and the killed process is
replaced; a stop is taken over after a TTL, and the stopped process finishes what it had begun when it wakes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler_core.drill.evidence import (
    Call,
    DrillJob,
    Evidence,
    FaultRecord,
    Moment,
    ReplicaRecord,
    RunRecord,
    TermRecord,
)

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TTL_SECONDS = 3.0
LASTS_SECONDS = {"long": 0.4, "once": 0.06}


def at(seconds: float) -> datetime:
    """An instant, in seconds since the drill began."""
    return T0 + timedelta(seconds=seconds)


JOBS = (
    DrillJob("tick", at(0.007), 50),
    DrillJob("once", at(0.150), 200, delivery="at_most_once"),
    DrillJob("long", at(0.229), 500),
    DrillJob("skips", at(0.041), 100, misfire="skip"),
)


@dataclass
class TermSpan:
    """A leader's time in the script."""

    term: int
    pid: int
    since: float
    until: float
    died: bool


@dataclass
class Script:
    """What happened, being written."""

    faults: list[FaultRecord] = field(default_factory=list)
    replicas: list[ReplicaRecord] = field(default_factory=list)
    terms: list[TermSpan] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    wakes: dict[int, float] = field(default_factory=dict)
    """When the leader of a term woke that was stopped."""


def honest(kinds: tuple[str, ...] = ("kill", "kill", "kill"), every_seconds: float = 2.0, **scale: Any) -> Evidence:
    """Evidence in which every promise is kept. Parameters: kinds, the faults in their order (`kill` or `stop…`);
    every_seconds, the time between them; scale, `jobs` instead of ours, `pad_seconds` after the last fault.
    """
    draw = random.Random(11)
    script = Script()
    jobs: tuple[DrillJob, ...] = scale.get("jobs", JOBS)
    end = _play(script, kinds, every_seconds) + scale.get("pad_seconds", 3.0)
    script.terms[-1].until = end
    for job in jobs:
        _fire(script, job, end, draw)
    return Evidence(
        seed=11,
        lease_ttl_seconds=TTL_SECONDS,
        began_at=T0,
        ended_at=at(end),
        jobs=jobs,
        faults=tuple(script.faults),
        replicas=tuple(script.replicas),
        terms=tuple(
            TermRecord(
                term_span.term,
                f"i-{term_span.pid}",
                at(term_span.since),
                None if term_span is script.terms[-1] else at(term_span.until),
                None if term_span is script.terms[-1] else "witness fell",
            )
            for term_span in script.terms
        ),
        runs=tuple(script.runs),
        calls=tuple(script.calls),
    )


def _play(script: Script, kinds: tuple[str, ...], every_seconds: float) -> float:
    """Write faults, replicas and terms; returns when the last fault was over."""
    living = [101, 102, 103]
    script.replicas = [ReplicaRecord(pid, f"i-{pid}", at(-1), None, None) for pid in living]
    leader, now, since = living[0], 0.0, -0.5
    for number, kind in enumerate(kinds, start=1):
        now += every_seconds
        gap = 0.03 if kind == "kill" else TTL_SECONDS
        healed = None if kind == "kill" else now + gap + 1.0
        script.terms.append(TermSpan(number, leader, since, now, kind == "kill"))
        script.faults.append(
            FaultRecord(
                number,
                kind,
                f"leader, pid {leader}",
                True,
                number,
                at(now),
                None if healed is None else at(healed),
                at(now + gap + 0.002),
                number + 1,
            )
        )
        if kind == "kill":
            _bury(script, leader, now, successor=200 + number)
            living.remove(leader)
            living.append(200 + number)
        else:
            script.wakes[number] = healed or 0.0
            living.append(living.pop(living.index(leader)))
        leader, since, now = living[0], now + gap, healed or now
    script.terms.append(TermSpan(len(kinds) + 1, leader, since, 0.0, False))
    return now


def _bury(script: Script, pid: int, now: float, successor: int) -> None:
    place = next(n for n, replica in enumerate(script.replicas) if replica.pid == pid)
    script.replicas[place] = replace(script.replicas[place], ended_at=at(now + 0.001), exit_code=-9)
    script.replicas.append(ReplicaRecord(successor, f"i-{successor}", at(now + 0.5), None, None))


def _fire(script: Script, job: DrillJob, end: float, draw: random.Random) -> None:
    start = (job.starts_at - T0).total_seconds()
    for k in range(int((end - start) * 1000 // job.every_ms) + 1):
        due = (start * 1000 + k * job.every_ms) / 1000
        _run(script, job, due, UUID(int=draw.getrandbits(128)), draw)


def _run(script: Script, job: DrillJob, due: float, run_id: UUID, draw: random.Random) -> None:
    place = next(
        n for n, term_span in enumerate(script.terms) if due < term_span.until or term_span is script.terms[-1]
    )
    term_span = script.terms[place]
    began = max(due, term_span.since) + draw.uniform(0.0001, 0.002)
    if began >= term_span.until and term_span is not script.terms[-1]:
        place += 1
        term_span = script.terms[place]
        began = term_span.since + draw.uniform(0.0001, 0.002)
    lasts = LASTS_SECONDS.get(job.job_id, 0.001)
    ended = began + lasts
    ends_in_time = ended < term_span.until or term_span is script.terms[-1]
    row = RunRecord(
        run_id, job.job_id, at(due), "schedule", "succeeded", None, 1, 0, term_span.term, f"i-{term_span.pid}",
        at(began), at(ended), None, None,
    )  # fmt: skip
    _call(script, row, term_span, began, ended if ends_in_time else None)
    if ends_in_time:
        script.runs.append(row)
    elif job.delivery == "at_most_once" and term_span.died:
        script.runs.append(replace(row, status="lost", reason="owner_died", attempts=0, deliveries=1))
    elif term_span.died:
        # The successor takes it up once the owner has been gone for a TTL.
        successor = script.terms[place + 1]
        again = successor.since + TTL_SECONDS
        successor = next((r for r in script.terms if r.since <= again < r.until), script.terms[-1])
        again = max(again, successor.since)
        _call(script, row, successor, again, again + lasts)
        script.runs.append(
            replace(
                row, deliveries=1, term=successor.term, instance_id=f"i-{successor.pid}", finished_at=at(again + lasts)
            )
        )
    else:
        woke = script.wakes[term_span.term] + 0.001
        script.calls.append(replace(script.calls[-1], moment=Moment.ENDED, at=at(woke)))
        script.runs.append(replace(row, finished_at=at(woke)))


def _call(script: Script, run: RunRecord, term_span: TermSpan, began: float, ended: float | None) -> None:
    began_line = Call(
        Moment.BEGAN, run.job_id, run.scheduled_for, 1, term_span.term, run.run_id, term_span.pid, at(began + 0.00005)
    )
    script.calls.append(began_line)
    if ended is not None:
        script.calls.append(replace(began_line, moment=Moment.ENDED, at=at(ended - 0.00005)))
