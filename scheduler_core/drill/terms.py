"""Leadership in the record: are terms unique and rising, and until when may something start under each? Pure."""

from __future__ import annotations

from itertools import pairwise

from scheduler_core.drill.accounting import micros
from scheduler_core.drill.evidence import Evidence, TermRecord
from scheduler_core.drill.fault_windows import CLOCK_SLACK_MICROS
from scheduler_core.drill.verdict import Findings, Kind

FOREVER = 1 << 62


class Terms:
    """The terms of a drill by number, and the window in which each may start attempts."""

    def __init__(self, evidence: Evidence) -> None:
        ttl = round(evidence.lease_ttl_seconds * 1_000_000)
        self.by_number = {record.term: record for record in evidence.terms}
        # A former leader learns of its successor by its next renewal or not at all: its trust ends by itself within
        # a TTL of the last renewal that succeeded, which was before the successor came.
        self._opens = {number: micros(record.acquired_at) for number, record in self.by_number.items()}
        rising = sorted(self.by_number)
        self._closes = {term: self._opens[successor] + ttl for term, successor in pairwise(rising)}

    def __len__(self) -> int:
        return len(self.by_number)

    def instance(self, term: int) -> str | None:
        """Who led."""
        record = self.by_number.get(term)
        return None if record is None else record.instance_id

    def closes(self, term: int) -> int:
        """The instant after which nothing of this term may start: its successor's first, and a lease TTL."""
        return self._closes.get(term, FOREVER)

    def is_early(self, term: int, instant: int) -> bool:
        """Whether something started under a term that nobody had acquired yet."""
        return instant + CLOCK_SLACK_MICROS < self._opens.get(term, instant)


def check_order(terms: tuple[TermRecord, ...], findings: Findings) -> None:
    """Terms in the order in which they were acquired have to rise strictly."""
    for before, after in pairwise(sorted(terms, key=lambda record: (record.acquired_at, record.term))):
        subject = f"term {after.term}"
        if after.term == before.term:
            findings.add(Kind.TERM_ORDER, subject, f"was led by {before.instance_id} and again by {after.instance_id}")
        elif after.term < before.term:
            findings.add(Kind.TERM_ORDER, subject, f"was acquired after term {before.term}, which is higher")
        elif before.ended_at is not None and before.ended_at > after.acquired_at:
            findings.add(Kind.TERM_ORDER, subject, f"was acquired before term {before.term} had ended, says the record")
