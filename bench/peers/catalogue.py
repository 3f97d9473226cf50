"""Who is measured, with how much, and what each cannot do."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """One way to run a scheduler. Throughput is measured with each, and the fastest counts."""

    processes: int
    size: int
    """The peer's one number: threads, concurrency, batch, limit. Its file says which."""


@dataclass(frozen=True)
class Peer:
    """One scheduler. Counts are such that a run takes 5 to 20 s on two cores."""

    name: str
    """Of its file here, and of its requirements."""
    title: str
    package: str
    """Whose version the table shows."""
    count: int
    """Of jobs that are due at once."""
    store_seconds: float
    """How long storing one job may take before they are due. A slow machine gets a second, longer try."""
    recorded: str
    """What its record keeps of a fire."""
    tunings: tuple[Tuning, ...]
    """Lateness is measured with the first."""
    companions: int = 0
    """Processes among the first that schedule nothing; they live through the takeover."""
    period: int = 1
    """takeover: seconds between two ticks, the finest step if that is more than a second."""
    needs_python: tuple[int, int] = (3, 11)
    reasons: tuple[tuple[str, str], ...] = ()
    """What to know of a figure, or why there is none: (measure, sentence)."""


OURS = Peer(
    "ours",
    "this scheduler",
    "scheduler-core",
    count=100_000,
    store_seconds=0.0002,
    recorded="a row per run: status, times, lateness, term",
    tunings=(Tuning(1, 0),),
)

PEERS = (
    Peer(
        "apscheduler3",
        "APScheduler 3",
        "APScheduler",
        count=8_000,
        store_seconds=0.002,
        recorded="nothing: a fired job is deleted",
        tunings=(Tuning(1, 20), Tuning(1, 5)),
        reasons=(
            (
                "takeover",
                "no leader election: its FAQ says that a job store can't be shared, and two processes on one both fire",
            ),
        ),
    ),
    Peer(
        "redbeat",
        "Celery + RedBeat",
        "celery-redbeat",
        count=5_000,
        store_seconds=0.001,
        recorded="nothing: results are ignored, as it advises",
        tunings=(Tuning(2, 2), Tuning(2, 1)),
        companions=1,
        reasons=(("takeover", "the lock lives 1,500 s and the second beat asks for it every 300 s, by default"),),
    ),
    Peer(
        "procrastinate",
        "Procrastinate",
        "procrastinate",
        count=5_000,
        store_seconds=0.001,
        recorded="a row per job, a row per change of status",
        tunings=(Tuning(1, 10), Tuning(1, 30), Tuning(2, 10)),
    ),
    Peer(
        "oban",
        "Oban (Python)",
        "oban",
        count=15_000,
        store_seconds=0.001,
        recorded="a row per job: state, attempts, times",
        tunings=(Tuning(1, 20), Tuning(1, 200), Tuning(2, 20)),
        period=60,
        needs_python=(3, 12),
        reasons=(("takeover", "its cron knows minutes at the finest; ticks that no leader evaluates are gone"),),
    ),
    Peer(
        "pgqueuer",
        "PgQueuer",
        "pgqueuer",
        count=60_000,
        store_seconds=0.0001,
        recorded="a row per change of status",
        tunings=(Tuning(1, 100), Tuning(1, 1_000), Tuning(2, 100)),
        reasons=(
            (
                "takeover",
                "its scheduler sleeps until a second after the next instant: about every second tick of a second "
                "is gone, whoever lives",
            ),
        ),
    ),
    Peer(
        "dbos",
        "DBOS",
        "dbos",
        count=4_000,
        store_seconds=0.004,
        recorded="a row per workflow: status, inputs, output",
        tunings=(Tuning(1, 0), Tuning(2, 0)),
        reasons=(("lateness", "delayed workflows are looked for once a second, for which there is no setting"),),
    ),
)


def lacking(peer: Peer) -> str | None:
    """What the figures of this peer must say of the interpreter they were measured with."""
    if peer.needs_python <= sys.version_info[:2]:
        return None
    wanted, here = (".".join(map(str, version[:2])) for version in (peer.needs_python, sys.version_info))
    return f"asks for Python {wanted}; measured on {here}, its one newer line rewritten"
