"""A drill's trace: the log of rows, the callbacks' own lines and what the drill did, in one order. Pure.

Everything is told on one machine, by its wall clock: Postgres's, unless a fault moves what replicas read of it, and
that of the witness files. So the order of two lines that depend on each other is that in which they happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from scheduler_core.drill.accounting import ENDED, micros
from scheduler_core.drill.evidence import Call, Evidence, Moment
from scheduler_core.drill.fault_windows import Processes
from scheduler_core.drill.trace import Event, Line, Write
from scheduler_core.storage.embedded.row_log import RowChange

WAITING = frozenset({"pending", "queued", "retrying"})
OBJECTS = {"leader": "leader", "jobs": "job", "runs": "run"}


def lines_of(changes: Sequence[RowChange], calls: Iterable[Call], evidence: Evidence) -> tuple[Line, ...]:
    """All lines, in order. Parameters: calls, by this machine's wall clock."""
    lines = [
        *_transactions(changes),
        *_calls(calls, Processes(evidence.replicas)),
        *_exits(evidence),
        *_faults(evidence),
    ]
    return tuple(sorted(lines, key=lambda line: line.at))


def _transactions(changes: Sequence[RowChange]) -> Iterator[Line]:
    """The lines of each transaction stand where it wrote its last row: right before it committed."""
    last: dict[str, int] = {change.tx: place for place, change in enumerate(changes)}
    by_commit = sorted(changes, key=lambda change: last[change.tx])
    leaders = _leaders(changes)
    for _, rows in groupby(by_commit, key=lambda change: change.tx):
        yield from _lines_of_one(list(rows), leaders)


def _leaders(changes: Iterable[RowChange]) -> dict[int, str]:
    """Who had each term."""
    rows = [change.new for change in changes if change.relation == "leader" and change.new]
    return {row["term"]: row["instance_id"] for row in rows if row["instance_id"]}


def _lines_of_one(rows: Sequence[RowChange], leaders: Mapping[int, str]) -> Iterator[Line]:
    at = rows[-1].at
    added = [row for row in rows if row.relation == "runs" and row.old is None and row.new is not None]
    claimed = [row for row in added if row.new and row.new["origin"] == "schedule" and row.new["term"] is not None]
    moved = [row for row in rows if row.relation == "jobs"]
    for job in moved:
        mine = [row for row in claimed if row.new and row.new["job_id"] == _named(job)]
        if _is_claim(job):
            term = mine[0].new["term"] if mine and mine[0].new else job.leader_term
            writes = tuple(_write(row) for row in (job, *mine))
            yield Line(at, Event.CLAIM, leaders.get(term), term, job.tx, job.leader_tx, writes=writes)
        else:
            yield Line(at, Event.OPERATOR, None, None, job.tx, writes=(_write(job),))
    cursors = {_named(job) for job in moved if _is_claim(job)}
    for row in rows:
        is_told = row in claimed and row.new is not None and row.new["job_id"] in cursors
        if row.relation != "jobs" and not is_told:
            yield _ROWS[row.relation](at, row)


def _is_claim(job: RowChange) -> bool:
    """A claim moves the cursor, and leaves the version; whoever edits raises that."""
    return job.old is not None and job.new is not None and job.old["version"] == job.new["version"]


def _named(change: RowChange) -> str:
    held = change.new or change.old or {}
    return str(held.get("run_id") or held.get("job_id") or "leader")


def _write(change: RowChange) -> Write:
    name = "job_id" if change.relation == "jobs" else "run_id"
    held = change.new or change.old or {}
    return Write(OBJECTS[change.relation], str(held.get(name, "leader")), change.over, change.old, change.new)


def _of_leader(at: datetime, change: RowChange) -> Line:
    old, new = change.old or {}, change.new or {}
    if old.get("term") != new.get("term"):
        event = Event.TERM
    elif old.get("nonce") == new.get("nonce"):
        event = Event.NOTE
    else:
        event = Event.SEAT if new.get("nonce") else Event.RESIGN
    return Line(at, event, new.get("instance_id"), new.get("term"), change.tx, writes=(_write(change),))


def _of_attempt(at: datetime, change: RowChange) -> Line:
    new = change.new or {}
    event = Event.LATE if new.get("late") else Event.NOTE
    return Line(
        at, event, new.get("instance_id"), new.get("term"), change.tx,
        run=new.get("run_id"), attempt=new.get("attempt"), note=new.get("outcome"),
    )  # fmt: skip


def _of_run(at: datetime, change: RowChange) -> Line:
    event = _run_event(change.old, change.new)
    old, new = change.old or {}, change.new or {}
    run = _named(change)
    if event in (Event.ADOPT, Event.REAP):
        by, term = (new["instance_id"], new["term"]) if event is Event.ADOPT else (None, None)
        return Line(
            at, event, by or change.leader_instance, term or change.leader_term, change.tx, change.leader_tx,
            run=run, writes=(_write(change),),
        )  # fmt: skip
    owner = None if event is Event.OPERATOR else old.get("instance_id")
    return Line(
        at, event, owner, None if owner is None else old.get("term"), change.tx,
        run=run, attempt=new.get("attempt"), note=new.get("status"), writes=(_write(change),),
    )  # fmt: skip


_ROWS = {"leader": _of_leader, "attempts": _of_attempt, "runs": _of_run}


def _run_event(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Event:
    """What a new version of a run's row tells of, by the columns that differ."""
    if old is None or new is None or old["status"] in ENDED:
        return Event.OPERATOR
    was, now = old["status"], new["status"]
    if new["deliveries"] > old["deliveries"]:
        return Event.FORGOTTEN if new["reason"] == "end_unknown" else Event.REAP
    if now in ENDED:
        is_asked = now == "cancelled" and was in WAITING and new["attempt"] == old["attempt"]
        return Event.OPERATOR if is_asked else Event.END
    if now == "running":
        return Event.MARK if was in WAITING else Event.NOTE
    if new["instance_id"] is None and old["instance_id"] is not None:
        return Event.HAND_BACK
    if (new["instance_id"], new["term"]) != (old["instance_id"], old["term"]):
        return Event.ADOPT
    return Event.RETRY if new["attempt"] > old["attempt"] else Event.NOTE


def _calls(calls: Iterable[Call], processes: Processes) -> Iterator[Line]:
    for call in calls:
        if call.moment is Moment.BEGAN:
            process = processes.at(call.pid, micros(call.at))
            by = None if process is None else process.instance_id
            yield Line(call.at, Event.BEGIN, by, call.term, run=str(call.run_id), attempt=call.attempt)


def _exits(evidence: Evidence) -> Iterator[Line]:
    for replica in evidence.replicas:
        if replica.ended_at is not None and replica.instance_id is not None:
            yield Line(replica.ended_at, Event.EXIT, replica.instance_id, note=str(replica.exit_code))


def _faults(evidence: Evidence) -> Iterator[Line]:
    leaders = {term.term: term.instance_id for term in evidence.terms}
    known = set(leaders)
    for fault in evidence.faults:
        hit = leaders.get(fault.term_before) if fault.hit_leader else None
        yield Line(
            fault.injected_at, Event.FAULT, hit, fault.term_before, note=" + ".join(fault.kinds), until=fault.healed_at
        )
        if (lost := fault.failover) is not None:
            terms = {call.term for call in evidence.calls} - known
            # Where it begins: what comes after it, and before the kill, the standby may lack.
            yield Line(
                lost.replicated_until,
                Event.PROMOTED,
                until=lost.killed_at,
                since=lost.replicated_until,
                terms=tuple(sorted(terms)),
            )
