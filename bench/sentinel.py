"""`python -m bench.sentinel`: the Redis master is killed with -9 under three replicas that find it by Sentinel.

In each round the master is killed, a Sentinel's quorum promotes the replica, and the killed server comes back as a
replica. At the end the leader is asked to stop, so that a follower has to find the new master too. What should have
fired is arithmetic, what fired stands in the views for auditors, and each call in a file of the callbacks' own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from bench.sentinels import Sentinels
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.runtime.child_processes import die_with_parent
from scheduler_core.storage.embedded import PostgresServer
from scheduler_core.storage.postgres import migrate

REPLICAS = 3
WAIT_SECONDS = 40.0

LEADER = """
SELECT i.pid, l.term, l.instance_id FROM scheduler.leader l JOIN scheduler.instances i USING (instance_id)
WHERE l.nonce IS NOT NULL AND scheduler.witness_held(i.life_key)
"""

LIVING = "SELECT count(*) FROM scheduler.instances WHERE ended_at IS NULL AND scheduler.witness_held(life_key)"

STARTED_SINCE = "SELECT count(*) FROM scheduler_audit.runs WHERE started_at > %s"

DUE = """
SELECT coalesce(sum(greatest(0, (extract(epoch FROM next_run - anchor) / 0.05)::int - 1)), 0)::int FROM scheduler.jobs
"""

UNACCOUNTED = """
SELECT count(*) FROM scheduler.jobs j,
     generate_series(1, (extract(epoch FROM j.next_run - j.anchor) / 0.05)::int - 1) AS k
WHERE NOT EXISTS (
    SELECT FROM scheduler_audit.runs r
    WHERE r.job_id = j.job_id
      AND j.anchor + k * interval '50 ms' BETWEEN coalesce(r.missed_from, r.scheduled_for) AND r.scheduled_for)
"""

DUPLICATES = """
SELECT count(*) FROM (
    SELECT FROM scheduler_audit.runs GROUP BY job_id, scheduled_for HAVING count(*) > 1) AS twice
"""

# The longest time in which no run started, with a margin before the fault, so that the gap it fell into counts.
LONGEST_GAP = """
SELECT coalesce(extract(epoch FROM max(gap)) * 1000, 0)::float8 FROM (
    SELECT started_at - lag(started_at) OVER (ORDER BY started_at) AS gap FROM scheduler_audit.runs
    WHERE started_at BETWEEN %s AND %s) AS gaps
"""


@dataclass(frozen=True, slots=True)
class Round:
    """One kill of the master: milliseconds from it to a new master and to a lease there, and gaps between fires."""

    promoted_ms: float
    lease_ms: float
    gap_before_ms: float
    gap_ms: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it all. `calls_twice` are fires whose callback was called more than once."""

    rounds: tuple[Round, ...]
    due: int
    unaccounted: int
    duplicates: int
    calls_twice: int
    terms: tuple[tuple[int, str | None], ...]
    lease_instance: str
    leader_instance: str


class Stage:
    """Postgres, Sentinels and replicas of one measure."""

    def __init__(self, folder: Path, sentinels: Sentinels, database_url: str, outage: str) -> None:
        self.sentinels, self.calls, self._folder = sentinels, folder / "calls", folder
        self.sql = psycopg.connect(database_url, autocommit=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SCHEDULER_")},
            "SCHEDULER_DATABASE_URL": database_url,
            "SCHEDULER_REDIS_URL": sentinels.url,
            "SCHEDULER_REDIS_OUTAGE": outage,
            "SCHEDULER_TIMEZONE": "UTC",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "BENCH_CALLS": str(self.calls),
        }

    def start_replicas(self) -> None:
        for number in range(REPLICAS):
            with (self._folder / f"replica-{number}.log").open("wb") as log:
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "scheduler_core.cli", "run", "--app", "bench.every_50_ms"],
                        env=self._environment,
                        cwd=self._folder,
                        stdout=log,
                        stderr=log,
                        preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
                    )
                )
        self.wait(lambda: self.value(LIVING) >= REPLICAS and self.leader(), "a leader and its followers")

    def fire_for(self, seconds: float) -> datetime:
        """Let so much of the database's time pass while runs start. Returns its end."""
        since = self.now()
        self.wait(lambda: (self.now() - since).total_seconds() >= seconds, "time")
        last = self.now()
        self.wait(lambda: self.value(STARTED_SINCE, last), "a run")
        return self.now()

    def lose_master(self, settle_seconds: float, *, come_back: bool) -> Round:
        """Kill the master and wait until the leader renews its lease at another one; then let the killed one return."""
        since = self.now()
        killed_at, killed = self.fire_for(settle_seconds), time.monotonic()
        port = self.sentinels.kill_master()
        self.sentinels.await_promotion(port)
        promoted = time.monotonic()
        # The new master may have the lease of before by replication: only a renewal shows that somebody found it.
        seen = self.renewals()
        self.wait(lambda: self.renewals() not in {None, seen}, "a renewal at the new master")
        renewed = time.monotonic()
        until = self.fire_for(settle_seconds)
        lost = Round(
            promoted_ms=(promoted - killed) * 1000,
            lease_ms=(renewed - killed) * 1000,
            gap_before_ms=self.value(LONGEST_GAP, since, killed_at),
            gap_ms=self.value(LONGEST_GAP, killed_at, until),
        )
        if come_back:
            self.sentinels.start_again(port)
        return lost

    def hand_over(self) -> None:
        """Ask the leader to stop, and wait for a run of its successor's and for its renewals."""
        found = self.leader()
        assert found is not None
        pid, term, _ = found
        next(process for process in self._processes if process.pid == pid).terminate()
        self.wait(lambda: self.value("SELECT count(*) FROM scheduler_audit.runs WHERE term > %s", term), "a successor")
        self.wait(lambda: (self.lease() or {}).get("term") == str((self.leader() or (0, 0))[1]), "its lease")

    def leader(self) -> tuple[int, int, str] | None:
        return self.sql.execute(LEADER).fetchone()

    def lease(self) -> dict[str, str] | None:
        return next(iter(self.sentinels.keys("scheduler:lease:*").values()), None)

    def renewals(self) -> tuple[str, str] | None:
        lease = self.lease()
        return None if lease is None else (lease["token"], lease["beat"])

    def value(self, statement: str, *arguments: object) -> Any:
        row = self.sql.execute(statement, arguments).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row[0]

    def now(self) -> datetime:
        now: datetime = self.value("SELECT clock_timestamp()")
        return now

    def wait(self, ask: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not ask():
            ended = [process for process in self._processes if process.poll() not in {None, 0}]
            if time.monotonic() > deadline or ended:
                raise SchedulerError(f"{'a replica ended' if ended else 'in vain'}: {what}; logs in {self._folder}")
            time.sleep(0.02)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        self.stop()
        self.sql.close()


def measure(folder: Path, *, outage: str = "hold", rounds: int = 1, settle_seconds: float = 2.0) -> Verdict:
    """Lose the master so many times under `redis_outage = outage`, hand over, and audit.

    Parameters: settle_seconds, how long jobs fire before each kill, and after the new master is found.
    Raises SchedulerError if something that must happen does not.
    """
    with _stage(folder, outage) as stage:
        stage.start_replicas()
        measured = tuple(
            stage.lose_master(settle_seconds, come_back=number < rounds) for number in range(1, rounds + 1)
        )
        stage.hand_over()
        lease, leader = stage.lease(), stage.leader()
        assert lease is not None
        assert leader is not None
        stage.stop()
        calls = Counter(stage.calls.read_text(encoding="ascii").splitlines())
        return Verdict(
            rounds=measured,
            due=stage.value(DUE),
            unaccounted=stage.value(UNACCOUNTED),
            duplicates=stage.value(DUPLICATES),
            calls_twice=sum(count > 1 for count in calls.values()),
            terms=tuple(
                stage.sql.execute("SELECT term, end_reason FROM scheduler_audit.leadership ORDER BY term").fetchall()
            ),
            lease_instance=lease["instance"],
            leader_instance=leader[2],
        )


@contextmanager
def _stage(folder: Path, outage: str) -> Iterator[Stage]:
    with PostgresServer(folder / "servers") as postgres, Sentinels(folder / "sentinels") as sentinels:
        migrate.upgrade(postgres.url)
        stage = Stage(folder, sentinels, postgres.url, outage)
        try:
            yield stage
        finally:
            stage.close()


def report(outage: str, verdict: Verdict) -> str:
    """The verdict as lines for people."""
    lines = [f'redis_outage = "{outage}", {len(verdict.rounds)} times the master killed with -9, milliseconds:']
    for name in ("promoted_ms", "lease_ms", "gap_before_ms", "gap_ms"):
        values = [getattr(one, name) for one in verdict.rounds]
        lines.append(f"  {name.removesuffix('_ms'):12}" + " ".join(f"{value:8.0f}" for value in values))
    lines.append(
        f"  due {verdict.due}, unaccounted {verdict.unaccounted}, duplicate runs {verdict.duplicates}, "
        f"called twice {verdict.calls_twice}, longest gap {max(one.gap_ms for one in verdict.rounds):.0f} ms, "
        f"terms ended by: {', '.join(str(reason) for _, reason in verdict.terms)}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.sentinel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often the master is killed")
    words = parser.parse_args()
    for outage in ("hold", "stop"):
        with tempfile.TemporaryDirectory(prefix="scheduler-sentinel-") as folder:
            print(report(outage, measure(Path(folder), outage=outage, rounds=words.rounds)), flush=True)


if __name__ == "__main__":
    main()
