"""One measure of one scheduler, in an empty database of its own on the servers that all of them share."""

from __future__ import annotations

import asyncio
import math
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from bench.peers import figures
from bench.peers.catalogue import Peer, Tuning
from bench.peers.figures import Fire, Kill, Lateness
from bench.peers.processes import Inside, TooSlowError, TrialError, kill
from scheduler_core.storage.embedded import EmbeddedServers

START_SECONDS = 6.0
"""From storing the last job to its being due: the processes start meanwhile."""
INSTALL_SECONDS = 60.0
SCHEDULES = 10
SETTLE_SECONDS = 4.0
STEADY_SECONDS = 5.0
KILLED_BEFORE_DUE_SECONDS = (0.1, 0.03, 0.01)
"""One kill after the other: the last two while a scheduler that claims ahead may have done so."""
GRACE_SECONDS = 15.0
"""For a process that looks at the record to start and to answer."""
AFTER_SECONDS = 6.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Throughput:
    """Jobs that were all due at one instant, until every outcome was durable."""

    tuning: Tuning
    fires: int
    seconds: float
    fires_per_second: float
    stored_per_second: float


@dataclass(frozen=True)
class Trial:
    """Where one scheduler is measured."""

    peer: Peer
    python: Path
    servers: EmbeddedServers
    patience: float = 1.0
    """Storing the jobs may take so many times what it usually does."""

    def throughput(self, count: int, tuning: Tuning, limit: float) -> Throughput:
        """Raises TrialError if not all of them are done within `limit` seconds."""
        with self._stage("throughput") as inside, ExitStack() as stack:
            due, stored = self._enqueue(inside, count, 0.0)
            self._start(inside, stack, tuning.processes, due, limit, size=tuning.size)
            found = self._wait(inside, count, due + limit)
            if found["done"] < count:
                raise TrialError(f"{found['done']:,} of {count:,} fires were done after {limit:.0f} s")
            took = found["finished_at"] - due
            return Throughput(
                tuning, count, round(took, 2), round(count / took), round(count / max(stored["seconds"], 0.001))
            )

    def lateness(self, rate: int, seconds: float, limit: float) -> Lateness:
        """Each job due at an exact instant, `rate` of them in each second."""
        count = round(rate * seconds)
        with self._stage("lateness") as inside, ExitStack() as stack:
            due, _ = self._enqueue(inside, count, 1 / rate)
            tuning = self.peer.tunings[0]
            self._start(inside, stack, tuning.processes, due, seconds + limit, size=tuning.size)
            self._wait(inside, count, due + seconds + limit)
            return figures.lateness(_fires(inside.folder), count)

    def takeover(self, number: int, wait_seconds: float) -> Kill:
        """Kill the process that schedules, shortly before the next instant; wait for the other, so long at most.

        number: of the kill, from 0; it says how shortly before.
        """
        period = self.peer.period
        wait_seconds = max(wait_seconds, 2.5 * period)
        limit = STEADY_SECONDS + 4 * period + wait_seconds + AFTER_SECONDS + 60
        with self._stage("takeover") as inside, ExitStack() as stack:
            due = float(math.ceil((time.time() + SETTLE_SECONDS) / period) * period)
            options = {"schedules": SCHEDULES, "period": period}
            started = self._start(inside, stack, self.peer.companions + 2, due, limit, **options)
            rivals = started[self.peer.companions :]
            steady_at = max(time.time(), due)
            _until(lambda: bool(_fires(inside.folder)), 3 * period + 20, "a first fire")
            time.sleep(max(0.0, steady_at + STEADY_SECONDS - time.time()))
            last = max(_fires(inside.folder), key=lambda fire: fire.at).pid
            leader = inside.ask("leader", INSTALL_SECONDS)["pid"] or last
            victim = next((process for process in rivals if process.pid == leader), rivals[0])
            time.sleep(_next_strike(period, number) - time.time())
            killed_at = time.time()
            kill(victim)
            self._await_survivor(inside.folder, victim.pid, killed_at, wait_seconds)
            return figures.takeover(
                _fires(inside.folder),
                victim=victim.pid,
                steady_at=steady_at,
                killed_at=killed_at,
                ended_at=time.time(),
                schedules=SCHEDULES,
                period=period,
            )

    def _await_survivor(self, folder: Path, victim: int, killed_at: float, wait_seconds: float) -> None:
        """Until it fired, and a while longer: what comes back only later shows up."""
        while time.time() < killed_at + wait_seconds:
            if any(fire.pid != victim and fire.at > killed_at for fire in _fires(folder)):
                time.sleep(AFTER_SECONDS)
                return
            time.sleep(POLL_SECONDS)

    def _enqueue(self, inside: Inside, count: int, spacing: float) -> tuple[float, dict[str, Any]]:
        """Store the jobs; they are due only once that is over and the processes run."""
        took = (2.0 + count * self.peer.store_seconds) * self.patience
        due = math.ceil(time.time() + took + START_SECONDS)
        stored = inside.ask("enqueue", took + START_SECONDS, count=count, due=due, spacing=spacing)
        if time.time() > due - START_SECONDS / 2:
            raise TooSlowError(f"storing {count:,} jobs took {stored['seconds']} s: they were due before it was over")
        return due, stored

    def _wait(self, inside: Inside, count: int, until: float) -> dict[str, Any]:
        return inside.ask("wait", until - time.time() + GRACE_SECONDS, count=count, until=until)

    def _start(
        self, inside: Inside, stack: ExitStack, processes: int, due: float, limit: float, **options: float
    ) -> list[subprocess.Popen[bytes]]:
        """So many processes; each takes part, the first before the second, when this returns."""
        started = []
        for number in range(processes):
            seconds = max(0.0, due - time.time()) + limit
            process = stack.enter_context(inside.work(seconds, number=number, due=due, **options))
            inside.await_ready(process)
            started.append(process)
        if "schedules" not in options and time.time() > due:
            raise TooSlowError("the processes took longer to start than the jobs were away")
        return started

    @contextmanager
    def _stage(self, mode: str) -> Iterator[Inside]:
        name = f"peer_{self.peer.name}"
        asyncio.run(_execute(self.servers.database_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        asyncio.run(_execute(self.servers.database_url, f"CREATE DATABASE {name}"))
        url = urlunsplit(urlsplit(self.servers.database_url)._replace(path=f"/{name}"))
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            inside = Inside(self.python, self.peer.name, mode, url, self.servers.redis_url, Path(folder))
            try:
                inside.ask("install", INSTALL_SECONDS)
                yield inside
            finally:
                asyncio.run(_execute(self.servers.database_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def _next_strike(period: int, number: int) -> float:
    """Shortly before the next instant that is not too near for a sleep to be exact."""
    due = math.ceil((time.time() + 0.5) / period) * period
    return due - KILLED_BEFORE_DUE_SECONDS[number % len(KILLED_BEFORE_DUE_SECONDS)]


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _fires(folder: Path) -> list[Fire]:
    found = []
    for path in folder.glob("fires-*.txt"):
        found += figures.parse(path.read_text(encoding="ascii").splitlines(keepends=True))
    return found


def _until(true: Any, seconds: float, what: str) -> None:
    ends_at = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends_at:
            raise TrialError(f"no sign of {what} in {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
