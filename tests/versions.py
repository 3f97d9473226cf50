"""The version after this one, for tests of upgrades: this code, and one more revision of the schema."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scheduler_core.domain.revision import OLDEST
from scheduler_core.storage.postgres import migrate
from scheduler_core.storage.postgres.migrate import head

ROOT = Path(__file__).parents[1]
NEXT = f"{int(head()) + 1:04}"

FUTURE = '''
"""What the next version may do to every table that replicas write to: expand, and nothing else."""

from alembic import op

revision = "{next}"
down_revision = "{head}"
branch_labels = None
depends_on = None

EXPAND = (
    "ALTER TABLE leader ADD COLUMN future text",
    "ALTER TABLE leader_terms ADD COLUMN future text",
    "ALTER TABLE jobs ADD COLUMN future text, ADD COLUMN future_count bigint NOT NULL DEFAULT 7",
    "ALTER TABLE runs ADD COLUMN future text DEFAULT 'new'",
    "ALTER TABLE attempts ADD COLUMN future text",
    "ALTER TABLE instances ADD COLUMN future text",
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


def next_migrations(folder: Path) -> Path:
    """Our migrations, and one more, as the next version might bring it."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    future = FUTURE.format(next=NEXT, head=head())
    (folder / "alembic" / "versions" / f"{NEXT}_future.py").write_text(future)
    return folder / "alembic"


def next_code(folder: Path, *, oldest: str = OLDEST) -> Path:
    """Our packages, as the next version might be: with that revision for its own.

    Parameters: oldest, the first revision that it can work with.
    """
    for package in ("scheduler_core", "storage"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, symlinks=True, ignore=ignored)
    next_migrations(folder)
    says = folder / "scheduler_core" / "domain" / "revision.py"
    said = says.read_text().split(f'\nOLDEST = "{OLDEST}"\n')
    assert len(said) == 2
    says.write_text(f'\nOLDEST = "{oldest}"\n'.join(said))
    return folder


def migrate_to_next(url: str, migrations: Path) -> None:
    """Bring a schema to the next version's revision, as `scheduler migrate` of that version does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scheduler_core.storage.postgres.revisions.folder", lambda: migrations)
        migrate.upgrade(url)
