"""The version before this one, and the one after it, for tests of upgrades."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine

from scheduler_core.storage.postgres.migrate import head
from scheduler_core.storage.postgres.revisions import configuration
from scheduler_core.storage.postgres.url import parse_url

ROOT = Path(__file__).parents[1]
PREVIOUS = f"{int(head()) - 1:04}"
NEXT = f"{int(head()) + 1:04}"

FUTURE = '''
"""What the next version may do to every table that replicas write to: expand, and nothing else."""

from alembic import op

revision = "{next}"
down_revision = "{head}"
branch_labels = None
depends_on = None

EXPAND = (
    "ALTER TABLE jobs ADD COLUMN future text, ADD COLUMN future_count bigint NOT NULL DEFAULT 7",
    "ALTER TABLE runs ADD COLUMN future text DEFAULT 'new'",
    "ALTER TABLE attempts ADD COLUMN future text",
    "ALTER TABLE instances ADD COLUMN future text",
    "ALTER TABLE leader ADD COLUMN future text",
    "ALTER TABLE leader_terms ADD COLUMN future text",
    "CREATE TABLE futures (future_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL)",
)


def upgrade() -> None:
    schema = op.get_context().opts["scheduler_schema"]
    for statement in EXPAND:
        op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute(f'CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_by_future ON "{{schema}}".jobs (future)')


def downgrade() -> None:
    raise NotImplementedError
'''


def upgrade_to(url: str, revision: str) -> None:
    """Bring a database to one revision."""
    engine = create_engine(parse_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS scheduler")
            connection.commit()
            command.upgrade(configuration("scheduler", connection), revision)
    finally:
        engine.dispose()


def next_migrations(folder: Path) -> Path:
    """Our migrations, and one more, as the next version might bring it."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    future = FUTURE.format(next=NEXT, head=head())
    (folder / "alembic" / "versions" / f"{NEXT}_future.py").write_text(future)
    return folder / "alembic"


def previous_code(folder: Path) -> Path:
    """The packages as they were before the newest revision came, from git; skips, loudly, where there is no history."""
    # However the file of that number was called at first: until a round is over, its revision may be written anew. One
    # of an earlier round may have had the number for a while, too.
    newest = f"alembic/versions/{head()}_*.py"
    try:
        added = _git("log", "--topo-order", "--diff-filter=A", "--format=%H", "--", newest).decode().split()
        before = next((f"{commit}^" for commit in added if not _has_newest(f"{commit}^")), None)
        packed = _git("archive", before, "scheduler_core", "storage", "alembic") if before else b""
    except (OSError, subprocess.CalledProcessError):
        packed = b""
    if not packed:
        pytest.skip("no git history here: the code before the newest revision can't be tried")
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        # Python 3.11.4 knows the filter; what is unpacked is our own.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder


def _has_newest(commit: str) -> bool:
    names = _git("ls-tree", "--name-only", commit, "--", "alembic/versions/").decode().split()
    return any(Path(name).name.startswith(f"{head()}_") for name in names)


def _git(*words: str) -> bytes:
    environment = os.environ | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    return subprocess.run(
        ["git", "-C", str(ROOT), *words], env=environment, capture_output=True, check=True, timeout=30
    ).stdout
