"""Every revision after the first runs beside replicas that fire: nothing rewrites a table or holds it for long.

The last is made up: what the next version might bring.

Squawk knows which statements do. What it does not look for stands in OFFLINE.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from versions import NEXT, next_migrations

from scheduler_core.storage.postgres import migrate

SQUAWK = Path(sys.executable).with_name("squawk")

MATTERS_OF_TASTE = ("prefer-bigint-over-int", "prefer-robust-stmts")

OFFLINE = re.compile(
    r"^(VACUUM|CLUSTER|LOCK|TRUNCATE|UPDATE|DELETE|INSERT|REINDEX|REFRESH)\b"
    r"|^ALTER TABLE .*\bSET (UNLOGGED|LOGGED|TABLESPACE|ACCESS METHOD)\b",
    re.MULTILINE | re.IGNORECASE,
)
"""What is as long as a table is large. Rows are moved by jobs, in batches, when both versions can read both forms."""

OWN = re.compile(r'^(UPDATE|INSERT INTO|DELETE FROM) "?scheduler"?\.alembic_version\b')

REVISIONS = [f"{number:04}" for number in range(2, int(NEXT) + 1)]


@pytest.fixture(autouse=True)
def _with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next_migrations(tmp_path)
    monkeypatch.setattr("scheduler_core.storage.postgres.revisions.folder", lambda: folder)


def complaints(statements: str, folder: Path) -> set[str]:
    """The rules that these statements break. Squawk wants the limits said first: `migrate --sql` says them second."""
    schema, _, rest = statements.partition("SET search_path")
    assert "CREATE SCHEMA" in schema
    file = folder / "revision.sql"
    file.write_text(f"SET search_path{rest}")
    words = [f"--exclude={','.join(MATTERS_OF_TASTE)}", "--pg-version=15", "--reporter=json", str(file)]
    done = subprocess.run([SQUAWK, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = {violation["rule_name"] for violation in json.loads(done.stdout)}
    lines = [line for line in rest.splitlines() if not OWN.match(line)]
    found |= {each.group(0) for each in OFFLINE.finditer("\n".join(lines))}
    # No limit holds outside a transaction, so that only what blocks nobody may stand there.
    outside = re.sub(r"^BEGIN;.*?^COMMIT;", "", rest, flags=re.MULTILINE | re.DOTALL).split(";\n")[1:]
    return found | {"limit" for each in outside if not re.match(r"$|SET |.* CONCURRENTLY ", each.strip())}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_revision_runs_beside_replicas_that_fire(revision: str, tmp_path: Path) -> None:
    statements = migrate.sql("scheduler", f"{int(revision) - 1:04}", revision)
    assert f"-> {revision}" in statements
    assert complaints(statements, tmp_path) == set()


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("ALTER TABLE jobs ALTER COLUMN name TYPE varchar(10)", "changing-column-type"),
        ("ALTER TABLE jobs ALTER COLUMN last_run SET NOT NULL", "adding-not-nullable-field"),
        ("ALTER TABLE runs ADD COLUMN x uuid DEFAULT gen_random_uuid()", "adding-field-with-default"),
        ("ALTER TABLE runs ADD COLUMN x text NOT NULL", "adding-required-field"),
        ("ALTER TABLE runs ADD CONSTRAINT x CHECK (attempt > 0)", "constraint-missing-not-valid"),
        ("ALTER TABLE jobs ADD UNIQUE (name)", "disallowed-unique-constraint"),
        ("ALTER TABLE runs ADD FOREIGN KEY (job_id) REFERENCES jobs (job_id)", "adding-foreign-key-constraint"),
        ("CREATE INDEX x ON jobs (name)", "require-concurrent-index-creation"),
        ("CREATE INDEX CONCURRENTLY x ON jobs (name)", "ban-concurrent-index-creation-in-transaction"),
        ("DROP INDEX jobs_due", "require-concurrent-index-deletion"),
        ("ALTER TABLE jobs DROP COLUMN set_aside", "ban-drop-column"),
        ("ALTER TABLE jobs RENAME COLUMN set_aside TO put_aside", "renaming-column"),
        ("ALTER TABLE jobs RENAME TO tasks", "renaming-table"),
        ("DROP TABLE failed_attempts", "ban-drop-table"),
        ("UPDATE runs SET reason = 'x'", "UPDATE"),
        ("VACUUM FULL runs", "VACUUM"),
        ("LOCK TABLE jobs", "LOCK"),
        ("ALTER TABLE jobs SET UNLOGGED", "ALTER TABLE jobs SET UNLOGGED"),
    ],
)
def test_what_would_stop_the_fires_or_the_version_before_is_found(statement: str, rule: str, tmp_path: Path) -> None:
    """The test above can fail: a column that goes, or gets another name, takes the version before along."""
    statements = migrate.sql("scheduler", "0001", "0002").replace("BEGIN;\n", f"BEGIN;\n{statement};\n", 1)
    assert rule in complaints(statements, tmp_path)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("ALTER TABLE jobs ADD COLUMN x text", {"limit"}),
        ("CREATE INDEX CONCURRENTLY x ON scheduler.jobs (name)", set()),
    ],
)
def test_without_a_transaction_only_what_blocks_nobody(statement: str, found: set[str], tmp_path: Path) -> None:
    statements = migrate.sql("scheduler", "0001", "0002").replace("BEGIN;\n", f"{statement};\n\nBEGIN;\n", 1)
    assert complaints(statements, tmp_path) == found
