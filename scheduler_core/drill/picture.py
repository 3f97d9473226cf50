"""What a picture of a drill shows, as values: who lived and led when, what hit, who fired. Pure.

`picture_text` and `picture_svg` draw it. A lane is a place among the replicas: a process that starts after another
ended takes over its lane, so that a long drill has few.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from scheduler_core.drill.evidence import Evidence, FaultRecord, ReplicaRecord
from scheduler_core.drill.takeover import fire_instants

Second = Callable[[datetime], float]

SILENCE_SECONDS = 0.2
"""Shorter times without a fire are not marked: they are what the density shows anyway."""


class Family(StrEnum):
    """What a fault strikes; each has a mark of its own."""

    KILL = "killed"
    STOP = "stopped or blocked"
    ASKED = "asked to leave"
    REDIS = "Redis"
    POSTGRES = "Postgres"
    OTHER = "other"


FAMILIES: Sequence[tuple[str, Family]] = (
    ("redis", Family.REDIS),
    ("pg", Family.POSTGRES),
    ("stop", Family.STOP),
    ("block", Family.STOP),
    ("term", Family.ASKED),
    ("kill", Family.KILL),
    ("suicide", Family.KILL),
    ("fork", Family.KILL),
    ("on-the-dot", Family.KILL),
    ("follower-kill", Family.KILL),
    ("all-down", Family.KILL),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted. Seconds since the drill began."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Life(Span):
    """A replica process in its lane."""

    lane: int
    replica: ReplicaRecord


@dataclass(frozen=True, slots=True)
class TermSpan(Span):
    """A term in the lane of its leader."""

    lane: int
    term: int


@dataclass(frozen=True, slots=True)
class Mark(Span):
    """A fault, from its injection to the first fire after it; in the lane of the leader that it hit, or in none."""

    lane: int | None
    fault: FaultRecord
    family: Family


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is drawn."""

    seconds: float
    lanes: int
    lives: tuple[Life, ...]
    terms: tuple[TermSpan, ...]
    marks: tuple[Mark, ...]
    fires: tuple[float, ...]
    """When callbacks began, ascending."""
    silences: tuple[Span, ...]

    def fires_between(self, since: float, until: float) -> int:
        """How many callbacks began in [since, until)."""
        return bisect_left(self.fires, until) - bisect_left(self.fires, since)


def family(kind: str) -> Family:
    """Which mark a fault gets."""
    return next((family for prefix, family in FAMILIES if kind.startswith(prefix)), Family.OTHER)


def compose(evidence: Evidence) -> Picture:
    """Lay the evidence out in time and lanes."""
    total = (evidence.ended_at - evidence.began_at).total_seconds()

    def second(instant: datetime) -> float:
        return (instant - evidence.began_at).total_seconds()

    lives = _lives(evidence, second, total)
    lane_of = {life.replica.instance_id: life.lane for life in lives}
    lane_of.pop(None, None)
    leader_of = {term.term: term.instance_id for term in evidence.terms}
    fires = tuple(second(instant) for instant in fire_instants(evidence))
    edges = (0.0, *fires, total)
    return Picture(
        seconds=total,
        lanes=1 + max((life.lane for life in lives), default=-1),
        lives=lives,
        terms=_terms(evidence, second, total, lane_of),
        marks=tuple(
            Mark(
                second(fault.injected_at),
                total if fault.first_fire_at is None else second(fault.first_fire_at),
                lane_of.get(leader_of.get(fault.term_before)) if fault.hit_leader else None,
                fault,
                family(fault.kind),
            )
            for fault in sorted(evidence.faults, key=lambda fault: fault.injected_at)
        ),
        fires=fires,
        silences=tuple(Span(since, until) for since, until in pairwise(edges) if until - since >= SILENCE_SECONDS),
    )


def _lives(evidence: Evidence, second: Second, total: float) -> tuple[Life, ...]:
    free_from: list[float] = []
    lives = []
    for replica in sorted(evidence.replicas, key=lambda replica: (replica.started_at, replica.pid)):
        since = second(replica.started_at)
        until = total if replica.ended_at is None else second(replica.ended_at)
        lane = next((lane for lane, free in enumerate(free_from) if free <= since), len(free_from))
        free_from[lane : lane + 1] = [until]
        if until > 0 and since < total:
            lives.append(Life(max(0.0, since), min(total, until), lane, replica))
    return tuple(lives)


def _terms(evidence: Evidence, second: Second, total: float, lane_of: Mapping[str | None, int]) -> tuple[TermSpan, ...]:
    terms = sorted(evidence.terms, key=lambda term: term.term)
    follows = [second(term.acquired_at) for term in terms[1:]] + [total]
    spans = []
    for term, next_begins in zip(terms, follows, strict=True):
        since = second(term.acquired_at)
        until = next_begins if term.ended_at is None else min(second(term.ended_at), next_begins)
        lane = lane_of.get(term.instance_id)
        if lane is not None and until > 0 and since < total:
            spans.append(TermSpan(max(0.0, since), min(total, max(since, until)), lane, term.term))
    return tuple(spans)
