"""A backup taken while jobs fire, restored into another cluster by docs/restore.md, as it stands there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import psycopg
import pytest
from replicas import Replicas, witnessed
from waiting import eventually

from scheduler_core.storage.embedded.postgres import PostgresServer
from scheduler_core.storage.embedded.programs import find_postgres

PAGE = Path(__file__).parents[2] / "docs" / "restore.md"

FIRED = "SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded'"

LONGEST_GAP = """
SELECT extract(epoch FROM max(gap))::float8 FROM (
    SELECT started_at - lag(started_at) OVER (ORDER BY started_at) AS gap
    FROM scheduler.runs WHERE started_at IS NOT NULL
) AS gaps
"""


def of_page(name: str) -> str:
    """A block of the page, by the comment that it begins with."""
    found = re.search(rf"^ *```sql\n *-- {name}\n(.*?)^ *```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return found.group(1)


@pytest.fixture
def other_cluster(tmp_path: Path) -> Iterator[PostgresServer]:
    (tmp_path / "other").mkdir()
    server = PostgresServer(tmp_path / "other")
    server.start()
    yield server
    server.stop()


def fires_on(sql: psycopg.Connection[Any], more: int = 25) -> None:
    before = int(sql.execute(FIRED).fetchone()[0])  # type: ignore[index]
    eventually(lambda: sql.execute(FIRED).fetchone()[0] >= before + more, what=f"{more} more than {before}")  # type: ignore[index]


def program(name: str, *words: str) -> None:
    done = subprocess.run(
        [find_postgres().folder / name, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def occurrences(lines: list[str], job_id: str = "") -> Counter[str]:
    return Counter(line.split()[0] for line in lines if line.startswith(job_id))


def test_a_backup_taken_while_jobs_fire_is_restored_and_everything_is_accounted_for(
    environment: dict[str, str], sql: psycopg.Connection[Any], other_cluster: PostgresServer, tmp_path: Path
) -> None:
    replicas = Replicas(environment, "apps.restoring", tmp_path)
    try:
        replicas.start(2)
        replicas.wait_for(sql, 2)
        fires_on(sql)
        dump = str(tmp_path / "scheduler.dump")
        schemas = ("--schema=scheduler", "--schema=scheduler_audit")
        program("pg_dump", "--format=custom", *schemas, f"--file={dump}", environment["SCHEDULER_DATABASE_URL"])
        # What the backup does not know: more fires, and a term that is given to callbacks and then to nobody again.
        replicas.leader(sql)[0].send_signal(signal.SIGKILL)
        fires_on(sql, 50)
        _, lost_term = replicas.leader(sql)
    finally:
        for process in replicas.processes:
            process.kill()
            process.wait(10)
    before = witnessed(environment)

    url = other_cluster.url
    with psycopg.connect(url, autocommit=True) as restored:
        restored.execute(of_page("roles"))
        program("pg_restore", "--exit-on-error", f"--dbname={url}", dump)
        # The danger is there: without the next step this test fails on both of its last claims.
        assert restored.execute("SELECT term FROM scheduler.leader").fetchone()[0] < lost_term  # type: ignore[index]
        cursor = restored.execute("SELECT next_run FROM scheduler.jobs WHERE job_id = 'at-most-once'").fetchone()
        fired_since = occurrences(before, "at-most-once")
        assert max(fired_since) > f"at-most-once@{cursor[0].isoformat()}"  # type: ignore[index]
        restored.execute(of_page("terms"))
        restored.execute(of_page("at most once"))

        environment = environment | {"SCHEDULER_DATABASE_URL": url}
        replicas = Replicas(environment, "apps.restoring", tmp_path / "other")
        try:
            replicas.start(2)
            replicas.wait_for(restored, 2)
            fires_on(restored)
            _answer(environment, tmp_path, "jobs", "resume", "at-most-once")
            eventually(lambda: len(occurrences(witnessed(environment)[len(before) :], "at-most-once")) > 3)
        finally:
            replicas.stop()

        gaps = json.loads(_answer(environment, tmp_path, "audit", "gaps", "--json"))
        assert gaps["expected"] > 0
        assert gaps["unaccounted"] == 0
        assert json.loads(_answer(environment, tmp_path, "audit", "duplicates", "--json")) == []
        longest = restored.execute(LONGEST_GAP).fetchone()[0]  # type: ignore[index]
        statuses = dict(restored.execute("SELECT status, count(*) FROM scheduler.runs GROUP BY 1").fetchall())

    after = witnessed(environment)[len(before) :]
    assert min(int(line.split()[1]) for line in after) > lost_term
    in_both = occurrences(before) & occurrences(after)
    assert not [key for key in in_both if key.startswith("at-most-once")]
    assert not [key for key, calls in occurrences(after, "at-most-once").items() if calls > 1]
    print(
        f"restored: {gaps['expected']} occurrences owed, unaccounted {gaps['unaccounted']}, duplicates 0, longest gap "
        f"{longest:.1f} s from the backup to the first fire; {statuses}; {len(before)} calls before, "
        f"{len(after)} after, {len(in_both)} occurrences in both, of which at_most_once 0"
    )


def _answer(environment: dict[str, str], folder: Path, *words: str) -> str:
    done = commands.as_text(commands.scheduler(*words, environment=environment, folder=folder))
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout
