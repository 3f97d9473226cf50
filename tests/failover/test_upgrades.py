"""Rolling upgrades, played: replicas of two versions, schemas one revision apart, a migration while jobs fire."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import psycopg
import pytest
from replicas import Replicas
from versions import NEXT, migrate_to_next, next_code, next_migrations
from waiting import eventually

from scheduler_core.storage.postgres import migrate

FIRES = "SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded'"
FAILURES = "SELECT count(*) FROM scheduler.attempts"
LEADS = """
SELECT l.term FROM scheduler.leader l
WHERE l.instance_id LIKE %s AND l.nonce IS NOT NULL
  AND EXISTS (SELECT FROM scheduler.runs r WHERE r.term = l.term AND r.status = 'succeeded')
"""


@pytest.fixture
def environment_of_empty(environment: dict[str, str], empty_database_url: str) -> dict[str, str]:
    return environment | {"SCHEDULER_DATABASE_URL": empty_database_url, "SCHEDULER_AUTO_MIGRATE": "false"}


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def replicas(environment_of_empty: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment_of_empty, "apps.upgrading", tmp_path, starts_anew=True)
    yield made
    made.stop()


def in_front(code: Path, environment: dict[str, str]) -> str:
    """The path of a replica that has this code instead of ours."""
    return f"{code}{os.pathsep}{environment['PYTHONPATH']}"


def fires_on(sql: psycopg.Connection[Any], question: str = FIRES, more: int = 20) -> None:
    before = _count(sql, question)
    eventually(lambda: _count(sql, question) >= before + more, what=f"{more} more than {before} of: {question}")


def _count(sql: psycopg.Connection[Any], question: str) -> int:
    row = sql.execute(question).fetchone()  # type: ignore[call-overload]
    return int(row[0])


def assert_nothing_was_lost(sql: psycopg.Connection[Any], environment: dict[str, str], folder: Path, told: str) -> None:
    """By the product's own audit; that it can find something is tested where it is."""
    answers = {}
    for question in ("gaps", "duplicates"):
        done = commands.as_text(commands.scheduler("audit", question, "--json", environment=environment, folder=folder))
        assert done.returncode == 0, (question, done.stdout, done.stderr)
        answers[question] = json.loads(done.stdout)
    fired = _count(sql, FIRES)
    assert answers["gaps"]["expected"] >= fired > 0
    assert answers["gaps"]["unaccounted"] == 0
    assert answers["duplicates"] == []
    print(f"{told}: {answers['gaps']['expected']} occurrences owed, {fired} fired, unaccounted 0, duplicates 0")


def migrate_behind_a_long_transaction(sql: psycopg.Connection[Any], url: str, folder: Path) -> None:
    """To the next version. The migration gives up its place in the queue of locks, and tries again: behind it nobody
    would fire until the transaction ends."""
    with psycopg.connect(url) as slow:
        # What a report that was left open holds; ALTER TABLE waits for it, and every claim behind ALTER TABLE.
        slow.execute("SELECT count(*) FROM scheduler.jobs")
        migrating = threading.Thread(target=migrate_to_next, args=[url, folder])
        migrating.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        eventually(lambda: _count(sql, waiting))
        for _ in range(3):
            fires_on(sql)
        assert migrating.is_alive()
        slow.rollback()
        migrating.join(60)
        assert not migrating.is_alive()
    assert sql.execute("SELECT version_num FROM scheduler.alembic_version").fetchone() == (NEXT,)


def test_a_version_that_needs_its_revision_at_once_does_not_start_before_it_and_says_what_to_do(
    replicas: Replicas, empty: psycopg.Connection[Any], environment_of_empty: dict[str, str], tmp_path: Path
) -> None:
    """Without `auto_migrate`. What each of its fires reads came with its revision: it can't do without."""
    url = environment_of_empty["SCHEDULER_DATABASE_URL"]
    migrate.upgrade(url)
    code = next_code(tmp_path / "next", oldest=NEXT)
    path = in_front(code, environment_of_empty)
    [early] = replicas.start(1, PYTHONPATH=path)
    assert early.wait(30) == 1
    told = (tmp_path / "replica-0.log").read_text()
    assert f"at revision {migrate.head()}, too old for this version, which needs {NEXT}" in told
    assert "run `scheduler migrate`" in told

    migrate_to_next(url, code / "alembic")
    replicas.start(1, PYTHONPATH=path)
    replicas.wait_for(empty, 1)
    fires_on(empty)


def test_the_next_version_fires_on_this_schema_and_under_the_migration(
    replicas: Replicas, empty: psycopg.Connection[Any], environment_of_empty: dict[str, str], tmp_path: Path
) -> None:
    """Without `auto_migrate`, and the code first: it starts, says what waits, and the schema comes to head under it."""
    url = environment_of_empty["SCHEDULER_DATABASE_URL"]
    migrate.upgrade(url)
    code = next_code(tmp_path / "next")
    path = in_front(code, environment_of_empty)
    replicas.start(2, PYTHONPATH=path)
    replicas.wait_for(empty, 2)
    fires_on(empty)
    fires_on(empty, FAILURES, 5)
    told = (tmp_path / "replica-0.log").read_text()
    assert f"what is new in {NEXT} waits for `scheduler migrate`" in told
    for words in (("jobs", "pause", "tick-0"), ("jobs", "resume", "tick-0"), ("jobs", "trigger", "tick-1")):
        done = commands.as_text(commands.scheduler(*words, environment=environment_of_empty, folder=tmp_path))
        assert done.returncode == 0, (words, done.stderr)
    replicas.leader(empty)[0].send_signal(signal.SIGKILL)
    fires_on(empty)
    replicas.start(1, PYTHONPATH=path)
    replicas.wait_for(empty, 2)

    migrate_to_next(url, code / "alembic")
    fires_on(empty)
    replicas.leader(empty)[0].send_signal(signal.SIGKILL)
    fires_on(empty)
    fires_on(empty, FAILURES, 5)
    replicas.stop()
    assert_nothing_was_lost(empty, environment_of_empty, tmp_path, "code N+1 on schema N, then on schema N+1")


def test_this_code_fires_on_while_the_next_version_migrates_and_takes_over(
    replicas: Replicas, empty: psycopg.Connection[Any], environment_of_empty: dict[str, str], tmp_path: Path
) -> None:
    """A rolling upgrade with `auto_migrate`: the first new replica migrates under the old ones, which then leave."""
    url = environment_of_empty["SCHEDULER_DATABASE_URL"]
    path = in_front(next_code(tmp_path / "next"), environment_of_empty)
    replicas.start(2, SCHEDULER_AUTO_MIGRATE="true", SCHEDULER_INSTANCE_NAME="old")
    eventually(lambda: empty.execute("SELECT to_regclass('scheduler.instances')").fetchone() != (None,))
    replicas.wait_for(empty, 2)
    fires_on(empty)
    assert asyncio.run(migrate.revisions(url))[0] == migrate.head()

    replicas.start(2, PYTHONPATH=path, SCHEDULER_AUTO_MIGRATE="true", SCHEDULER_INSTANCE_NAME="new")
    replicas.wait_for(empty, 4)
    assert asyncio.run(migrate.revisions(url))[0] == NEXT
    # Whoever leads is an old one still: it saw the schema change under it.
    assert empty.execute(LEADS, ["old%"]).fetchone()
    fires_on(empty)
    fires_on(empty, FAILURES, 5)
    for old in replicas.processes[:2]:
        old.send_signal(signal.SIGTERM)
        assert old.wait(30) == 0
    eventually(lambda: empty.execute(LEADS, ["new%"]).fetchone())
    fires_on(empty)
    replicas.stop()
    assert_nothing_was_lost(empty, environment_of_empty, tmp_path, "code N on schema N+1, then code N+1")


def test_this_code_fires_on_the_schema_of_the_next_version(
    replicas: Replicas,
    empty: psycopg.Connection[Any],
    environment_of_empty: dict[str, str],
    tmp_path: Path,
) -> None:
    """It also starts there: a replica that dies in the middle of an upgrade comes back, and an upgrade can be taken
    back without touching the schema."""
    url = environment_of_empty["SCHEDULER_DATABASE_URL"]
    migrate.upgrade(url)
    replicas.start(2)
    replicas.wait_for(empty, 2)
    fires_on(empty)
    migrate_behind_a_long_transaction(empty, url, next_migrations(tmp_path))
    fires_on(empty)
    fires_on(empty, FAILURES, 5)
    replicas.start(1, SCHEDULER_AUTO_MIGRATE="true")
    replicas.wait_for(empty, 3)
    replicas.leader(empty)[0].send_signal(signal.SIGKILL)
    fires_on(empty)

    def command(*words: str, code: int = 0) -> str:
        done = commands.as_text(commands.scheduler(*words, environment=environment_of_empty, folder=tmp_path))
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    for told in (command("migrate", "--check"), command("migrate")):
        assert f"at revision {NEXT}, one newer than this version's {migrate.head()}" in told
    command("jobs", "pause", "tick-0")
    command("jobs", "resume", "tick-0")
    command("jobs", "trigger", "tick-1")
    command("jobs", "add", "later", "--callback", "apps.upgrading:tick", "--daily", "03:00")
    assert "one newer" in command("doctor", code=1)
    replicas.stop()
    assert_nothing_was_lost(
        empty, environment_of_empty, tmp_path, "to schema N+1, behind a long transaction, under this code"
    )
