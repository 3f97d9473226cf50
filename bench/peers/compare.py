"""`python -m bench peers [--only NAME …] [--quick]`: the peers and ourselves in one run, one after another.

Prints a table, and writes all figures as JSON if asked to. Environments are made in `.bench/` the first time. Each
measure has an empty database of its own on one embedded PostgreSQL (fsync and synchronous_commit on), and Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from bench.peers import table, venvs
from bench.peers.catalogue import OURS, PEERS, Peer, Tuning, lacking
from bench.peers.processes import TooSlowError, TrialError
from bench.peers.table import Row
from bench.peers.trial import Throughput, Trial
from scheduler_core.storage import embedded
from scheduler_core.storage.embedded import EmbeddedServers

Found = TypeVar("Found")
PATIENCE = 4.0
TRIED_SHARE = 0.25
CACHE = Path(__file__).parents[2] / ".bench"
SETTINGS = ("server_version", "fsync", "synchronous_commit", "shared_buffers")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    share: float = 1.0
    """Of each peer's jobs that are due at once."""
    every_tuning: bool = True
    lateness_seconds: float = 6.0
    limit_seconds: float = 90.0
    kills: int = 3
    wait_seconds: float = 90.0


QUICK = Plan(share=0.2, every_tuning=False, lateness_seconds=3.0, limit_seconds=40.0, kills=1)


def compare(peers: Sequence[Peer], plan: Plan, cache: Path) -> dict[str, Any]:
    """Returns all figures; ours are always the first row."""
    pythons = {peer.name: _python(peer, cache) for peer in peers}
    began_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, embedded.start(folder) as servers:
        rows = [ours(servers, plan)]
        for peer in peers:
            python = pythons[peer.name]
            rows.append(_without(peer, python) if isinstance(python, str) else measure(peer, python, servers, plan))
        postgres = asyncio.run(_settings(servers.database_url))
    return {
        "began_at": began_at.isoformat(timespec="seconds"),
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "postgres": postgres,
        },
        "plan": asdict(plan),
        "rows": table.with_ratios(rows),
    }


def ours(servers: EmbeddedServers, plan: Plan) -> Row:
    """Our own row, by the same protocol and with the same loads."""
    return measure(OURS, Path(sys.executable), servers, plan)


def measure(peer: Peer, python: Path, servers: EmbeddedServers, plan: Plan) -> Row:
    """All measures of one scheduler. What comes to nothing says why."""
    trial = Trial(peer, python, servers)
    row = _head(peer)
    row["throughput"] = _attempt(peer, "throughput", partial(_throughput, trial, plan))
    for rate in (100, 1_000):
        row[f"lateness_{rate}"] = _attempt(peer, f"lateness at {rate}/s", partial(_lateness, trial, plan, rate))
    row["takeover"] = _attempt(peer, "takeover", partial(_takeover, trial, plan))
    return row


def _throughput(trial: Trial, plan: Plan) -> Row:
    """With the tuning that was the fastest with a part of the jobs; all of them beside it. Raises TrialError."""
    tunings = trial.peer.tunings
    if len(tunings) == 1 or not plan.every_tuning:
        return asdict(_run(trial, plan, tunings[0], plan.share))
    tried: list[Throughput] = []
    failures = []
    for tuning in tunings:
        try:
            tried.append(_run(trial, plan, tuning, plan.share * TRIED_SHARE))
        except TrialError as error:
            failures.append(error)
    if not tried:
        raise failures[0]
    best = max(tried, key=lambda throughput: throughput.fires_per_second)
    found = _run(trial, plan, best.tuning, plan.share)
    return asdict(found) | {"tried": [asdict(throughput) for throughput in tried]}


def _run(trial: Trial, plan: Plan, tuning: Tuning, share: float) -> Throughput:
    count = round(trial.peer.count * share)
    return _patiently(trial, partial(Trial.throughput, count=count, tuning=tuning, limit=plan.limit_seconds))


def _lateness(trial: Trial, plan: Plan, rate: int) -> Row:
    measure = partial(Trial.lateness, rate=rate, seconds=plan.lateness_seconds, limit=plan.limit_seconds)
    return asdict(_patiently(trial, measure))


def _patiently(trial: Trial, work: Callable[[Trial], Found]) -> Found:
    """Once more with more time, if the jobs were due before they were stored: the machine may be busy."""
    try:
        return work(trial)
    except TooSlowError:
        return work(replace(trial, patience=PATIENCE))


def _takeover(trial: Trial, plan: Plan) -> Row:
    """Several kills, as long as each finds a survivor; one where a tick is a minute."""
    found: list[Row] = []
    for number in range(plan.kills if trial.peer.period == 1 else 1):
        found.append(asdict(trial.takeover(number, plan.wait_seconds)))
        if found[-1]["first_s"] is None:
            break
    return table.kills(found)


def _attempt(peer: Peer, what: str, work: Callable[[], Row]) -> Row:
    load = os.getloadavg()[0]
    print(f"{datetime.now(UTC):%H:%M:%S} {peer.name}: {what} …", file=sys.stderr, flush=True)
    try:
        return work() | {"load_before": round(load, 2)}
    except (TrialError, OSError, asyncpg.PostgresError, subprocess.SubprocessError) as error:
        return table.no(str(error))


def _head(peer: Peer) -> Row:
    return {
        "name": peer.name,
        "title": peer.title,
        "version": installed(peer.package) if peer is OURS else venvs.version(peer),
        "recorded": peer.recorded,
        "notes": [*filter(None, [lacking(peer)]), *(f"{measure}: {said}" for measure, said in peer.reasons)],
    }


def _without(peer: Peer, reason: str) -> Row:
    measures = ("throughput", "lateness_100", "lateness_1000", "takeover")
    return _head(peer) | {measure: table.no(reason) for measure in measures}


def _python(peer: Peer, cache: Path) -> Path | str:
    """Of the peer's environment, or why there is none."""
    print(f"environment of {peer.name} …", file=sys.stderr, flush=True)
    try:
        return venvs.build(peer, cache)
    except (venvs.VenvError, OSError, subprocess.SubprocessError) as error:
        return str(error)


async def _settings(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        return {name: await connection.fetchval(f"SHOW {name}") for name in SETTINGS}
    finally:
        await connection.close()


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="a fifth of the jobs, one kill, the first tuning")
    parser.add_argument("--wait", type=float, default=Plan.wait_seconds, help="for a survivor, in seconds (90)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the environments (.bench)")
    parser.add_argument("--label", default="", help="what to know of this run: the machine, what else it does")
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args(arguments)
    plan = QUICK if given.quick else Plan()
    plan = Plan(**(asdict(plan) | {"wait_seconds": given.wait}))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
    found = {"label": given.label} | compare([peer for peer in PEERS if peer.name in given.only], plan, given.cache)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table.text(found["rows"]))
