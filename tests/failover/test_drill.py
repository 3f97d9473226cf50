"""A short drill on embedded servers: the apparatus works, and what it collects adds up by arithmetic of our own."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from scheduler_core.drill.checker import check
from scheduler_core.drill.drill import run_drill
from scheduler_core.drill.evidence import DrillJob, Evidence, Moment
from scheduler_core.drill.schedule import DrillPlan

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


async def test_a_short_drill(tmp_path: Path) -> None:
    told: list[str] = []
    plan = DrillPlan(
        replicas=3,
        faults=FAULTS,
        count=len(FAULTS),
        seed=1,
        lease_ttl_seconds=LEASE_TTL_SECONDS,
        data_dir=tmp_path,
        staging=None,
        all_down_seconds=1.0,
        keep=False,
    )
    evidence = await run_drill(plan, told.append)

    assert {fault.kind for fault in evidence.faults} == set(FAULTS)
    for fault in evidence.faults:
        assert fault.first_fire_at is not None, told
        assert fault.injected_at < fault.first_fire_at
        assert fault.term_after is not None
        assert (fault.term_after > fault.term_before) or fault.kind not in ENDS_THE_TERM
        assert fault.hit_leader is (fault.kind not in HIT_SERVERS)
        assert "has not taken part again" not in fault.target, f"{fault}; logs in {tmp_path}"

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
