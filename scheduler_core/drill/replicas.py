"""Replica processes: real `scheduler run` commands, each with a log, an end, and where faults need it a way to the
servers of its own that can be cut.

Signals go to our own children only, by pid, and only while they have not been reaped.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from scheduler_core.drill.clock import DrillClock
from scheduler_core.drill.evidence import ReplicaRecord
from scheduler_core.drill.proxy import Proxy
from scheduler_core.drill.proxy_thread import ProxyThread
from scheduler_core.drill.right_times import RightTimes
from scheduler_core.drill.servers import Servers
from scheduler_core.runtime.child_processes import die_with_parent

APP = "scheduler_core.drill.callbacks"
STOP_TIMEOUT_SECONDS = 20.0
KILL_TIMEOUT_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class Replica:
    """One replica process, living or dead."""

    number: int
    process: asyncio.subprocess.Process
    started_at: datetime
    links: Mapping[str, tuple[Proxy, ...]]
    """Its own proxies, by server, one for each address of the server; none where no fault asks for one."""
    ended_at: datetime | None = None
    leaving: bool = False
    """It was asked to stop, and may be draining still."""
    reaper: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def lives(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal at once; nothing happens to one that has ended."""
        if self.lives:
            self.leaving = self.leaving or number == signal.SIGTERM
            os.kill(self.pid, number)

    async def ended(self, within_seconds: float) -> None:
        """Wait for its end."""
        if self.reaper is not None:
            await asyncio.wait({self.reaper}, timeout=within_seconds)


class Replicas:
    """All replicas of one drill.

    Parameters: drill_file, what the callbacks read; proxied, the servers (`postgres`, `redis`) to put a proxy before,
    for each replica its own.
    """

    def __init__(
        self,
        servers: Servers,
        clock: DrillClock,
        folder: Path,
        drill_file: Path,
        proxies: ProxyThread | None,
        proxied: frozenset[str],
    ) -> None:
        self._servers = servers
        self._clock = clock
        self._folder = folder
        self._drill_file = drill_file
        self._proxies = proxies
        self._proxied = proxied
        self.all: list[Replica] = []

    @property
    def should_take_part(self) -> list[Replica]:
        """Those that live and were not asked to stop."""
        return [replica for replica in self.all if replica.lives and not replica.leaving]

    def of_pid(self, pid: int) -> Replica | None:
        """The living replica with this pid."""
        return next((replica for replica in self.all if replica.lives and replica.pid == pid), None)

    async def start(self, skew_seconds: float | None = None) -> Replica:
        """Start one more; returns as soon as the process is there."""
        links: dict[str, tuple[Proxy, ...]] = {}
        for server in sorted(self._proxied):
            assert self._proxies is not None
            links[server] = tuple([await self._proxies.open(*address) for address in self._servers.addresses(server)])
        number = len(self.all) + 1
        with (self._folder / f"replica-{number}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "scheduler_core.cli",
                "run",
                "--app",
                APP,
                env=self._environment(number, links, skew_seconds),
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the drill, which then ends its replicas in order.
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )
        replica = Replica(number, process, self._clock.now(), links)
        replica.reaper = asyncio.create_task(self._reap(replica), name=f"drill replica {number}")
        self.all.append(replica)
        return replica

    def _environment(
        self, number: int, links: Mapping[str, tuple[Proxy, ...]], skew_seconds: float | None
    ) -> dict[str, str]:
        settings = self._servers.settings
        urls = {
            server: self._servers.replicas_url(server, [proxy.port for proxy in links.get(server, ())])
            for server in ("postgres", "redis")
        }
        own = {
            "SCHEDULER_DATABASE_URL": urls["postgres"],
            "SCHEDULER_CONTROL_DATABASE_URL": settings.control_database_url or "",
            "SCHEDULER_REDIS_URL": urls["redis"],
            "SCHEDULER_SCHEMA": str(settings.schema),
            "SCHEDULER_LEASE_TTL": str(settings.lease_ttl),
            "SCHEDULER_STALL_TIMEOUT": str(settings.stall_timeout),
            "SCHEDULER_REDIS_OUTAGE": settings.redis_outage.value,
            "SCHEDULER_TIMEZONE": "UTC",
            "SCHEDULER_AUTO_MIGRATE": "false",
            "SCHEDULER_INSTANCE_NAME": f"drill-{number}",
            "SCHEDULER_DRILL": str(self._drill_file),
            **({} if skew_seconds is None else {"SCHEDULER_DRILL_SKEW_SECONDS": str(skew_seconds)}),
        }
        return {k: v for k, v in os.environ.items() if not k.startswith("SCHEDULER_")} | own

    async def _reap(self, replica: Replica) -> None:
        await replica.process.wait()
        replica.ended_at = self._clock.now()

    async def replace_dead(self, count: int) -> int:
        """Start as many as are missing to `count`; returns how many."""
        await self._discard_links()
        missing = count - len(self.should_take_part)
        for _ in range(missing):
            await self.start()
        return max(0, missing)

    async def _discard_links(self) -> None:
        for replica in self.all:
            if not replica.lives and replica.links and self._proxies is not None:
                for proxies in replica.links.values():
                    for proxy in proxies:
                        await self._proxies.discard(proxy)
                replica.links = {}

    async def absent(self) -> list[Replica]:
        """Those that should take part, and that Postgres does not see."""
        seen = {row.pid for row in await self._servers.reader.living()}
        return [replica for replica in self.should_take_part if replica.pid not in seen]

    def follower(self, leader_pid: int, draw: random.Random) -> Replica | None:
        """Any replica but the leader."""
        others = [replica for replica in self.should_take_part if replica.pid != leader_pid]
        return draw.choice(others) if others else None

    async def stop(self) -> None:
        """Ask everybody to stop, stopped ones too; end by force who does not."""
        for replica in self.all:
            replica.signal(signal.SIGCONT)
            replica.signal(signal.SIGTERM)
        await self._wait_for_all(STOP_TIMEOUT_SECONDS)
        for replica in self.all:
            replica.signal(signal.SIGKILL)
        await self._wait_for_all(KILL_TIMEOUT_SECONDS)

    async def _wait_for_all(self, seconds: float) -> None:
        reapers = [replica.reaper for replica in self.all if replica.reaper is not None and not replica.reaper.done()]
        if reapers:
            await asyncio.wait(reapers, timeout=seconds)

    async def records(self, times: RightTimes) -> tuple[ReplicaRecord, ...]:
        """Every process with its end. Its instance is the one that registered under its pid while it lived."""
        instances = [
            (row.instance_id, row.pid, times.right(row.started_at)) for row in await self._servers.reader.instances()
        ]

        def instance_of(replica: Replica) -> str | None:
            # A pid may come again: the latest registration that is not younger than the process's end.
            fitting = [
                instance_id
                for instance_id, pid, started_at in instances
                if pid == replica.pid
                and started_at >= replica.started_at
                and (replica.ended_at is None or started_at <= replica.ended_at)
            ]
            return fitting[-1] if fitting else None

        return tuple(
            ReplicaRecord(
                pid=replica.pid,
                instance_id=instance_of(replica),
                started_at=replica.started_at,
                ended_at=replica.ended_at,
                exit_code=replica.process.returncode,
            )
            for replica in self.all
        )


def busy_until(monotonic_seconds: float) -> None:
    """The last moments before an instant that is to be hit exactly."""
    while time.monotonic() < monotonic_seconds:
        pass
