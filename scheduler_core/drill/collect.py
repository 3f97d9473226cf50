"""What a drill leaves behind, read into evidence: the record from Postgres, the witness from its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from scheduler_core.drill.evidence import Evidence, FaultRecord, RunRecord, TermRecord
from scheduler_core.drill.faults import ends_a_term
from scheduler_core.drill.pairs import pairs
from scheduler_core.drill.right_times import RightTimes
from scheduler_core.drill.schedule import PlannedFault, replay_command
from scheduler_core.drill.stage import Stage
from scheduler_core.drill.witness import read_calls

_BEFORE_ALL = timedelta(days=1)


async def collect(
    stage: Stage, planned: Sequence[PlannedFault], faults: Sequence[FaultRecord], ended_at: datetime, folder: Path
) -> Evidence:
    """Everything, in chunks, after the replicas have ended. Raises ServerUnreachableError."""
    reader, times = stage.servers.reader, RightTimes(faults)
    runs: list[RunRecord] = []
    for job in stage.jobs:
        async for rows in reader.runs(job.job_id, job.starts_at - _BEFORE_ALL):
            runs += [_run(row, times) for row in rows]
    terms = tuple(
        TermRecord(
            row.term, row.instance_id, times.right(row.acquired_at), times.right_or_none(row.ended_at), row.end_reason
        )
        for row in await reader.terms()
    )
    ends_term = {item.number: ends_a_term(item.parts) for item in planned}
    return Evidence(
        seed=stage.plan.seed,
        lease_ttl_seconds=stage.plan.lease_ttl_seconds,
        began_at=min(job.starts_at for job in stage.jobs),
        ended_at=ended_at,
        jobs=stage.jobs,
        faults=tuple(_earliest(fault, runs, ends_term[fault.number]) for fault in faults),
        replicas=await stage.replicas.records(times),
        terms=terms,
        runs=tuple(runs),
        calls=tuple(read_calls(folder, stage.clock.at_wall)),
        pairs=len(pairs(embedded=stage.servers.embedded is not None)),
        again=replay_command(stage.plan),
    )


def _earliest(fault: FaultRecord, runs: Sequence[RunRecord], ends_term: bool) -> FaultRecord:
    """The first fire by the whole record: a run that began earlier may have been recorded later than another.

    What was seen at the time still counts: a run that is delivered again shows its last owner's term.
    """
    if fault.first_fire_at is None:
        return fault
    above_term = fault.term_before if ends_term else -1
    first = min(_starts(runs, fault.injected_at, fault.first_fire_at, above_term), default=None)
    return fault if first is None else replace(fault, first_fire_at=first[0], term_after=first[1])


def _starts(
    runs: Sequence[RunRecord], after: datetime, before: datetime, above_term: int
) -> Iterator[tuple[datetime, int]]:
    for run in runs:
        if run.started_at is None or run.term is None:
            continue
        if after < run.started_at < before and run.term > above_term:
            yield run.started_at, run.term


def _run(row: Any, times: RightTimes) -> RunRecord:
    return RunRecord(
        run_id=UUID(str(row.run_id)),
        job_id=row.job_id,
        scheduled_for=row.scheduled_for,
        origin=row.origin,
        status=row.status,
        reason=row.reason,
        attempts=row.attempts,
        deliveries=row.deliveries,
        term=row.term,
        instance_id=row.instance_id,
        started_at=times.right_or_none(row.started_at),
        finished_at=times.right_or_none(row.finished_at),
        missed_count=row.missed_count,
        missed_from=row.missed_from,
    )
