"""The verdict for programs: one JSON document."""

from __future__ import annotations

import signal
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from scheduler_core.drill.evidence import Evidence
from scheduler_core.drill.takeover import Spread, Takeover
from scheduler_core.drill.verdict import PROMISES, Kind, Verdict

KILLED_WITHIN = timedelta(seconds=1)
"""A SIGKILL that a fault sent is noticed this soon."""


def as_document(evidence: Evidence, verdict: Verdict, takeover: Takeover) -> dict[str, Any]:
    """The verdict as one JSON document. The first eleven keys are a contract: scripts read them."""
    accounting, witnessed = verdict.accounting, verdict.witnessed
    return {
        "faults": len(evidence.faults),
        "kills": kills(evidence),
        "takeover_ms": _percentiles(takeover.all),
        "fires_expected": accounting.expected,
        "fires_recorded": accounting.recorded,
        "unaccounted": verdict.counts.get(Kind.UNACCOUNTED, 0),
        "duplicate_runs": verdict.counts.get(Kind.DUPLICATE_RUN, 0),
        "duplicate_executions": verdict.duplicate_executions,
        "terms": verdict.terms,
        "verdict": "ok" if verdict.ok else "broken",
        "seed": evidence.seed,
        "again": evidence.again,
        "seconds": (evidence.ended_at - evidence.began_at).total_seconds(),
        "lease_ttl_seconds": evidence.lease_ttl_seconds,
        "by_fault": {
            kind: {"n": spread.n, **_percentiles(spread), "longest_silence": takeover.silences[kind].max}
            for kind, spread in sorted(takeover.by_fault.items())
        },
        "missed": dict(accounting.missed),
        "statuses": dict(verdict.statuses),
        "calls": witnessed.calls,
        "calls_per_fire": witnessed.per_fire,
        "repeated_after_fault": witnessed.repeated_after_fault,
        "concurrent_after_fault": witnessed.concurrent_after_fault,
        "begun_on_waking": witnessed.begun_on_waking,
        "not_replicated": {
            "count": witnessed.not_replicated.count,
            "called_again": witnessed.not_replicated.called_again,
            "at_most_once_called_again": witnessed.not_replicated.at_most_once_again,
            "first": [{"subject": run.subject, "sentence": run.sentence} for run in witnessed.not_replicated.first],
        },
        "pairs": {"played": len(pairs_played(evidence)), "possible": evidence.pairs},
        "stayed_away": stayed_away(evidence),
        "lateness_ms": _percentiles(takeover.lateness),
        "longest_silence_ms": takeover.longest_silence.ms if takeover.longest_silence else None,
        "findings": [
            {
                "kind": kind.value,
                "promise": PROMISES[kind],
                "count": count,
                "first": [
                    {"subject": finding.subject, "sentence": finding.sentence}
                    for finding in verdict.findings
                    if finding.kind is kind
                ],
            }
            for kind, count in sorted(verdict.counts.items())
        ],
    }


def _percentiles(spread: Spread) -> dict[str, float | None]:
    figures = asdict(spread)
    return {key: figures[key] for key in ("p50", "p99", "max")}


def kills(evidence: Evidence) -> int:
    """Replica processes that faults ended by SIGKILL: one for `kill`, all of them for `all-down`."""
    return sum(_deaths(evidence))


def pairs_played(evidence: Evidence) -> frozenset[frozenset[str]]:
    """The pairs of kinds that have hit at once."""
    return frozenset(
        frozenset(fault.parts) for fault in evidence.faults if len(fault.parts) > 1 and fault.term_before > 0
    )


def stayed_away(evidence: Evidence) -> int:
    """Replica processes that the drill ended itself, because they lived and took part no more."""
    deaths = _deaths(evidence)
    return len(deaths) - sum(deaths)


def _deaths(evidence: Evidence) -> list[bool]:
    """Of each SIGKILL while the drill ran, whether it came with a fault."""
    injected = [(fault.injected_at - KILLED_WITHIN, fault.injected_at + KILLED_WITHIN) for fault in evidence.faults]
    return [
        any(since <= replica.ended_at <= until for since, until in injected)
        for replica in evidence.replicas
        if replica.exit_code == -signal.SIGKILL
        and replica.ended_at is not None
        and evidence.began_at <= replica.ended_at <= evidence.ended_at
    ]
