"""The figures of the report: each with what it means, and with what asks it again. Pure.

The SQL reads the views for auditors in the drill's schema. It carries the drill's own jobs and faults as values, so
that it can be pasted as it stands; instants are those of the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from scheduler_core.drill.evidence import Evidence
from scheduler_core.drill.takeover import Takeover
from scheduler_core.drill.verdict import Kind, Verdict

AUDIT = "scheduler_drill_audit"
WITNESS = "cat witness-*.tsv | cut -f1 | sort | uniq -c"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `again`: a statement, or what to do where the figure is not Postgres's to know."""

    name: str
    value: str
    means: str
    again: str
    must_be_nought: bool = False
    is_sql: bool = True

    @property
    def is_bad(self) -> bool:
        return self.must_be_nought and self.value != "0"


def figures(evidence: Evidence, verdict: Verdict, takeover: Takeover) -> Iterator[Figure]:
    """All figures, in the order in which one reads them."""
    accounting, witnessed, counts = verdict.accounting, verdict.witnessed, verdict.counts
    window = f"scheduled_for BETWEEN {_at(evidence.began_at)} AND {_at(evidence.ended_at)}"
    jobs, until = _jobs(evidence), _at(evidence.ended_at)
    yield Figure(
        "Occurrences due",
        f"{accounting.expected:,}",
        "How often the jobs were due while the drill went on, by arithmetic on their periods alone.",
        f"SELECT sum(floor(extract(epoch FROM {until} - starts_at) / extract(epoch FROM every)) + 1) AS due\n{jobs};",
    )
    yield Figure(
        "Recorded",
        f"{accounting.recorded:,}",
        "Occurrences that have a row of their own, whatever became of them.",
        f"SELECT count(*) AS recorded FROM {AUDIT}.runs\n"
        f"WHERE origin = 'schedule' AND status <> 'missed' AND {window};",
    )
    yield Figure(
        "Counted as missed",
        f"{sum(accounting.missed.values()):,}",
        "Occurrences that did not run because their job's policy says so; a row counts them, with the reason.",
        f"SELECT reason, sum(missed_count) AS missed FROM {AUDIT}.runs\n"
        f"WHERE status = 'missed' AND {window} GROUP BY reason;",
    )
    yield Figure(
        "Unaccounted",
        f"{counts.get(Kind.UNACCOUNTED, 0):,}",
        "Occurrences of which the record knows nothing: each would be a fire that was lost. Must be 0.",
        f"SELECT count(*) AS unaccounted\n{jobs}\nCROSS JOIN LATERAL generate_series(starts_at, {until}, every) AS due"
        "\n"
        f"WHERE NOT EXISTS (SELECT FROM {AUDIT}.runs r WHERE r.job_id = j.job_id\n"
        "                  AND due BETWEEN coalesce(r.missed_from, r.scheduled_for) AND r.scheduled_for);",
        must_be_nought=True,
    )
    yield Figure(
        "With two rows",
        f"{counts.get(Kind.DUPLICATE_RUN, 0):,}",
        "Occurrences that were recorded twice. Must be 0.",
        f"SELECT count(*) AS twice FROM (\n    SELECT FROM {AUDIT}.runs "
        "GROUP BY job_id, scheduled_for HAVING count(*) > 1\n) AS found;",
        must_be_nought=True,
    )
    yield Figure(
        "Without an end",
        f"{counts.get(Kind.UNFINISHED, 0):,}",
        "Runs that were due and had not ended when all faults had healed. Must be 0.",
        f"SELECT count(*) AS unfinished FROM {AUDIT}.runs\n"
        f"WHERE status IN ('pending', 'queued', 'running', 'retrying') AND {window};",
        must_be_nought=True,
    )
    yield Figure(
        "Calls",
        f"{witnessed.calls:,}",
        "How often callbacks were called, as they wrote down themselves: one line before their work, one after it.",
        WITNESS,
        is_sql=False,
    )
    yield Figure(
        "Called again after a fault",
        f"{witnessed.repeated_after_fault:,}",
        "Calls of an occurrence that had been called before, where the first process died, was stopped or was cut off "
        "in between: what at-least-once delivery means.",
        f"SELECT job_id, scheduled_for, attempts, deliveries FROM {AUDIT}.runs\nWHERE deliveries > 0 AND {window};",
    )
    yield Figure(
        "Called again without one",
        f"{verdict.duplicate_executions:,}",
        "The same where no fault explains it. Must be 0.",
        "cat witness-*.tsv | awk '$1 == \"began\" { print $6, $4 }' | sort | uniq -d",
        must_be_nought=True,
        is_sql=False,
    )
    yield Figure(
        "Terms",
        f"{verdict.terms:,}",
        "How often a replica came to lead. Each term has a number of its own, and the numbers only grow.",
        f"SELECT term, instance_id, acquired_at, ended_at, end_reason FROM {AUDIT}.leadership ORDER BY term;",
    )
    yield Figure(
        "Terms out of order",
        f"{counts.get(Kind.TERM_ORDER, 0):,}",
        "Terms that were taken after a later one, or twice: two leaders at one time. Must be 0.",
        f"SELECT count(*) AS disorder FROM {AUDIT}.leadership a\n"
        f"JOIN {AUDIT}.leadership b ON b.term > a.term AND b.acquired_at < a.acquired_at;",
        must_be_nought=True,
    )
    yield from _times(evidence, takeover, window)


def _times(evidence: Evidence, takeover: Takeover, window: str) -> Iterator[Figure]:
    spread, late = takeover.all, takeover.lateness
    yield Figure(
        "From a fault to the successor's first fire",
        f"p50 {_ms(spread.p50)}, p99 {_ms(spread.p99)}, max {_ms(spread.max)} (n {spread.n})",
        "How long nobody fired where a fault cost the leader its seat: from the instant before the fault to the first "
        "start under a later term. Below 100 samples the p99 is the maximum.",
        f"SELECT number, extract(epoch FROM min(r.started_at) - at) * 1000 AS milliseconds\n{_faults(evidence)}\n"
        f"JOIN {AUDIT}.runs r ON r.started_at > at AND r.term > term_before GROUP BY number, at ORDER BY number;",
    )
    yield Figure(
        "Lateness",
        f"p50 {_ms(late.p50)}, p99 {_ms(late.p99)}, max {_ms(late.max)}",
        "Start minus due instant, of all runs that started, those that waited for a takeover among them.",
        "SELECT percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY lateness) AS lateness\n"
        f"FROM {AUDIT}.runs WHERE origin = 'schedule' AND started_at IS NOT NULL;",
    )
    silence = takeover.longest_silence
    yield Figure(
        "Longest silence",
        _ms(None if silence is None else silence.ms),
        "The longest time in which no callback began, whatever the reason.",
        "SELECT max(gap) AS silence FROM (\n    SELECT started_at - lag(started_at) OVER (ORDER BY started_at) AS gap\n"
        f"    FROM {AUDIT}.runs WHERE started_at IS NOT NULL AND {window}\n) AS gaps;",
    )


def _jobs(evidence: Evidence) -> str:
    rows = (f"('{job.job_id}', {_at(job.starts_at)}, interval '{job.every_ms} milliseconds')" for job in evidence.jobs)
    return f"FROM (VALUES\n{_values(rows)}\n) AS j (job_id, starts_at, every)"


def _faults(evidence: Evidence) -> str:
    rows = [
        f"({fault.number}, {_at(fault.injected_at)}, {fault.term_before})"
        for fault in evidence.faults
        if fault.term_after is not None and fault.term_after > fault.term_before
    ]
    return f"FROM (VALUES\n{_values(rows or ['(0, now(), 0)'])}\n) AS f (number, at, term_before)"


def _values(rows: Iterable[str]) -> str:
    return ",\n".join(f"    {row}" for row in rows)


def _at(instant: datetime) -> str:
    return f"timestamptz '{instant.isoformat()}'"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"
