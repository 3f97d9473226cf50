"""${message}

Rules for a migration here: it runs while other replicas fire jobs, and the previous version of the code must work on it
(docs/upgrades.md). Add, and nothing else: columns as NULL or with a constant default, constraints as NOT VALID. Tables in
the order of the claim: leader, jobs, runs, attempts. An index on a table that was there before is built CONCURRENTLY, in
`with op.get_context().autocommit_block():`, IF NOT EXISTS, the table with its schema
(`op.get_context().opts["scheduler_schema"]`); on a partitioned one partition by partition. Number it without a gap; one
revision per version. A function or view that changes stands here whole, as CREATE OR REPLACE: the files in `alembic/sql`
are the first revision's, and stay. tests/unit/test_online_migrations.py finds what would stop the fires.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
