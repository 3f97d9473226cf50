"""What may excuse a second call of one fire: its first owner died, was stopped, or was cut off in between. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

from scheduler_core.drill.accounting import micros
from scheduler_core.drill.evidence import Evidence, FaultRecord, ReplicaRecord
from scheduler_core.drill.kinds import KINDS, Excuses

CLOCK_SLACK_MICROS = 50_000
"""How far a witness's clock, corrected by a measured skew, may be off the database's."""

NOTICED_WITHIN_MICROS = 500_000
"""The end of a process is written down when the apparatus notices it; its successor may be faster than that."""


@dataclass(frozen=True, slots=True)
class _Hit:
    """A fault, the process that it hit, and for how long that may show."""

    fault: FaultRecord
    everybody: bool
    replica: ReplicaRecord | None
    since: int
    until: int


class Processes:
    """Replica processes by pid. A pid may be used again, so the instant counts too."""

    def __init__(self, replicas: tuple[ReplicaRecord, ...]) -> None:
        self._by_pid: dict[int, list[tuple[int, ReplicaRecord]]] = defaultdict(list)
        for replica in sorted(replicas, key=lambda replica: replica.started_at):
            self._by_pid[replica.pid].append((micros(replica.started_at), replica))
        self.by_instance = {replica.instance_id: replica for replica in replicas if replica.instance_id is not None}

    def at(self, pid: int, instant: int) -> ReplicaRecord | None:
        """The process that had this pid at an instant; None if the drill had none such."""
        known = self._by_pid.get(pid)
        if not known:
            return None
        place = bisect_right(known, instant + CLOCK_SLACK_MICROS, key=lambda entry: entry[0])
        return known[max(0, place - 1)][1]


class FaultWindows:
    """Deaths and faults, to be asked what happened to a process between two instants (microseconds since 1970)."""

    def __init__(self, evidence: Evidence, processes: Processes) -> None:
        self._processes = processes
        # What a fault does to its victim may show a lease TTL after it healed: so long a leader trusts what it knew.
        aftermath = round(evidence.lease_ttl_seconds * 1_000_000)
        leaders = {term.term: processes.by_instance.get(term.instance_id) for term in evidence.terms}
        self._hits = [
            _Hit(
                fault,
                _excuses_everybody(fault),
                leaders.get(fault.term_before),
                micros(fault.injected_at) - CLOCK_SLACK_MICROS,
                micros(fault.healed_at or fault.injected_at) + aftermath,
            )
            for fault in evidence.faults
            if _hits_somebody(fault)
        ]

    def died(self, pid: int, since: int, until: int) -> ReplicaRecord | None:
        """The process that made a call at `since`, if it had ended by `until`."""
        process = self._processes.at(pid, since)
        if process is None or process.ended_at is None:
            return None
        return process if micros(process.ended_at) <= until + NOTICED_WITHIN_MICROS else None

    def hit(self, pid: int, since: int, until: int) -> FaultRecord | None:
        """A fault that hit the process in this time."""
        process = self._processes.at(pid, since)
        for hit in self._hits:
            reached = hit.everybody or (process is not None and hit.replica is process)
            if reached and hit.since <= until and hit.until >= since:
                return hit.fault
        return None

    def excused(self, pid: int, since: int, until: int) -> bool:
        """Whether the process died, was stopped or cut off in this time."""
        return self.died(pid, since, until) is not None or self.hit(pid, since, until) is not None


def _hits_somebody(fault: FaultRecord) -> bool:
    if _excuses_everybody(fault):
        return True
    return fault.hit_leader and any(KINDS[kind].excuses is not Excuses.NOBODY for kind in fault.kinds)


def _excuses_everybody(fault: FaultRecord) -> bool:
    return any(KINDS[kind].excuses is Excuses.EVERYBODY for kind in fault.kinds)
