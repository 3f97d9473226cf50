"""${message}

Rules for a migration here: it runs while other replicas fire jobs, so no statement may hold a lock that a claim
waits for longer than `lock_timeout`; add columns as NULL or with a constant default; build indexes on large
tables CONCURRENTLY in a migration of their own; the previous version of the code must still work afterwards.
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
