"""What the measures share: servers of their own, replica processes, and statements that sum up the history."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scheduler_core import Container
from storage.embedded import EmbeddedServers

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

LATENESS = """
SELECT count(*) AS runs, count(*) FILTER (WHERE status <> 'succeeded') AS others,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8) * 1000 AS p50_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8) * 1000 AS p99_ms,
       max(extract(epoch FROM lateness)::float8) * 1000 AS max_ms
FROM scheduler_audit.runs
WHERE scheduled_for >= :since AND scheduled_for < coalesce(:until, clock_timestamp())
"""


@dataclass(frozen=True)
class Stage:
    """Servers that were started for one measure."""

    servers: EmbeddedServers
    began_at: datetime

    @property
    def database_url(self) -> str:
        return self.servers.database_url

    @property
    def redis_url(self) -> str:
        return self.servers.redis_url

    @contextmanager
    def replicas(self, app: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Replica processes of one app, ended with the block."""
        environment = os.environ | {
            "SCHEDULER_DATABASE_URL": self.database_url,
            "SCHEDULER_REDIS_URL": self.redis_url,
            "SCHEDULER_TIMEZONE": "UTC",
            "SCHEDULER_LOG_LEVEL": "ERROR",
        }
        command = [sys.executable, "-m", "scheduler_core.cli", "run", "--app", app]
        started = [subprocess.Popen(command, env=environment) for _ in range(count)]
        try:
            yield started
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(30)


async def figures(container: Container, statement: str, *, since: datetime, until: datetime | None) -> dict[str, float]:
    """One row of numbers."""
    row = await container.get_database().fetch_one(statement, {"since": since, "until": until})
    assert row is not None
    return {key: round(float(value), 2) for key, value in row.items() if value is not None}


def cpu_seconds(process: subprocess.Popen[Any]) -> float:
    """User and system time of a process so far."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
