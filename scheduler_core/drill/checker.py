"""The verdict on a drill: the evidence against what is promised. Pure, and linear in what was collected.

What should have fired comes from arithmetic of its own (`accounting`), what ran from the callbacks' own witness files
(`calls`), who led from the record (`terms`). Any finding makes the verdict a bad one.
"""

from __future__ import annotations

from collections import Counter

from scheduler_core.drill.accounting import account
from scheduler_core.drill.calls import check_calls
from scheduler_core.drill.evidence import Evidence
from scheduler_core.drill.terms import Terms, check_order
from scheduler_core.drill.verdict import Findings, Kind, Verdict


def check(evidence: Evidence) -> Verdict:
    """Judge the evidence of one drill."""
    findings = Findings()
    accounting = account(evidence, findings)
    check_order(evidence.terms, findings)
    terms = Terms(evidence)
    witnessed = check_calls(evidence, terms, findings)
    _check_faults(evidence, findings)
    statuses = Counter(
        run.status for run in evidence.runs if evidence.began_at <= run.scheduled_for <= evidence.ended_at
    )
    return Verdict(
        findings=tuple(findings.kept),
        counts=dict(findings.counts),
        accounting=accounting,
        witnessed=witnessed,
        statuses=dict(statuses),
        terms=len(terms),
    )


def _check_faults(evidence: Evidence, findings: Findings) -> None:
    for fault in evidence.faults:
        if fault.first_fire_at is None:
            findings.add(
                Kind.NO_FIRE,
                f"fault {fault.number}, {fault.kind}",
                f"nothing fired after it hit {fault.target} at {fault.injected_at:%H:%M:%S.%f}",
            )
