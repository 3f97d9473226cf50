"""What the judgement comes to: findings, each a broken promise by name, and the figures beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

KEPT_PER_KIND = 20
"""A broken scheduler breaks its promises by the hundred thousand: the first ones tell how, the count how often."""


class Kind(StrEnum):
    """What can be wrong."""

    UNACCOUNTED = "unaccounted"
    UNEXPECTED_RUN = "unexpected_run"
    WRONG_MISSED_COUNT = "wrong_missed_count"
    ACCOUNTED_TWICE = "accounted_twice"
    DUPLICATE_RUN = "duplicate_run"
    UNFINISHED = "unfinished"
    TERM_ORDER = "term_order"
    WRONG_OWNER = "wrong_owner"
    STALE_TERM = "stale_term"
    AT_MOST_ONCE = "at_most_once"
    DUPLICATE_EXECUTION = "duplicate_execution"
    CONCURRENT_CALLS = "concurrent_calls"
    UNRECORDED_CALL = "unrecorded_call"
    SUCCEEDED_UNCALLED = "succeeded_uncalled"
    CALLED_THOUGH_NOT_RUN = "called_though_not_run"
    BROKEN_WITNESS = "broken_witness"
    NO_FIRE = "no_fire"


PROMISES: Mapping[Kind, str] = {
    Kind.UNACCOUNTED: "I4: every occurrence has a row or is counted in one",
    Kind.UNEXPECTED_RUN: "I4: what is recorded is an occurrence of the schedule",
    Kind.WRONG_MISSED_COUNT: "I4: a missed row counts what it stands for",
    Kind.ACCOUNTED_TWICE: "I4: an occurrence is accounted for once",
    Kind.DUPLICATE_RUN: "I3: one run row per (job_id, scheduled_for)",
    Kind.UNFINISHED: "L2: once faults heal, runs end",
    Kind.TERM_ORDER: "I1: terms are unique and strictly increasing",
    Kind.WRONG_OWNER: "I2: only the term's own leader works under it",
    Kind.STALE_TERM: "I7: an attempt starts only inside its owner's trust window",
    Kind.AT_MOST_ONCE: "delivery: at_most_once is called once at most",
    Kind.DUPLICATE_EXECUTION: "delivery: called again only after a fault that hit the owner",
    Kind.CONCURRENT_CALLS: "I6: one live attempt per run",
    Kind.UNRECORDED_CALL: "I5: every call is an attempt or a delivery of the record",
    Kind.SUCCEEDED_UNCALLED: "I5: what succeeded was called, and returned",
    Kind.CALLED_THOUGH_NOT_RUN: "I5: what was skipped or missed was not called",
    Kind.BROKEN_WITNESS: "the drill's own: a call that ended has begun",
    Kind.NO_FIRE: "L1: once faults heal, there is a leader",
}

REPEATS = (Kind.AT_MOST_ONCE, Kind.DUPLICATE_EXECUTION, Kind.CONCURRENT_CALLS, Kind.UNRECORDED_CALL)
"""Each call too many is found as exactly one of these."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise."""

    kind: Kind
    subject: str
    sentence: str

    @property
    def promise(self) -> str:
        return PROMISES[self.kind]


class Findings:
    """Collects findings; keeps the first of each kind and counts them all."""

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()
        self.kept: list[Finding] = []

    def add(self, kind: Kind, subject: str, sentence: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= KEPT_PER_KIND:
            self.kept.append(Finding(kind, subject, sentence))


@dataclass(frozen=True, slots=True)
class Accounting:
    """Occurrences in the window of the drill: `expected` = `recorded` + all of `missed` + unaccounted."""

    expected: int
    recorded: int
    """Occurrences with a run row of their own."""
    missed: Mapping[str, int]
    """Occurrences that are counted in a missed row, by its reason."""


@dataclass(frozen=True, slots=True)
class LostRun:
    """A run that was called, and of whose call a promoted standby has not heard."""

    subject: str
    sentence: str
    again: bool
    """The same occurrence was called once more afterwards."""
    at_most_once: bool
    scheduled_for: datetime


@dataclass(frozen=True, slots=True)
class NotReplicated:
    """All such runs of a drill: how many, and the first of them."""

    count: int = 0
    called_again: int = 0
    at_most_once_again: int = 0
    """Of `called_again`, those of jobs that are to be called once at most."""
    first: tuple[LostRun, ...] = ()


NOTHING_LOST = NotReplicated()


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What the callbacks wrote down."""

    calls: int
    fires_called: int
    repeated_after_fault: int
    """Calls of a fire that had been called before, with the fault that hit the first owner named: allowed."""
    concurrent_after_fault: int
    """Of those: began while the first call was still under way in a living process that a fault had stopped or cut."""
    begun_on_waking: int
    """Calls whose process was stopped between its last check and the callback's first line: nobody can prevent it."""
    not_replicated: NotReplicated = NOTHING_LOST
    """Calls that a primary knew of and its promoted standby did not: allowed, and named."""

    @property
    def per_fire(self) -> float | None:
        return self.calls / self.fires_called if self.fires_called else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one drill. `findings` holds the first of each kind, `counts` how many there were."""

    findings: tuple[Finding, ...]
    counts: Mapping[Kind, int]
    accounting: Accounting
    witnessed: Witnessed
    statuses: Mapping[str, int]
    """Run rows in the window by status."""
    terms: int

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def duplicate_executions(self) -> int:
        """Calls too many, not excused by a fault that hit the owner of the call before."""
        return sum(self.counts.get(kind, 0) for kind in REPEATS)
