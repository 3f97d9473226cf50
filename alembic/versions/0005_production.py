"""Production's Postgres.

The installation's id: random, made once for each schema, and part of what its lease in Redis is called.

A column with a default. The version before reads none of it, and calls its lease by another name.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# One row: it is written anew while claims wait for a millisecond.
INSTALLATION = """
-- squawk-ignore adding-field-with-default
ALTER TABLE leader ADD COLUMN installation uuid NOT NULL DEFAULT gen_random_uuid();
COMMENT ON COLUMN leader.installation IS 'names this schema among all others; a copy of the database bears it too'
"""


def upgrade() -> None:
    for statement in INSTALLATION.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE leader DROP COLUMN installation")
