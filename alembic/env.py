"""Where Alembic meets the scheduler's schema.

`storage.postgres.migrate` hands over a connection. In each transaction the `search_path` is the scheduler's schema
and nothing else: migrations name their tables bare, and one code base serves any schema. In an `autocommit_block`
there is no transaction: what stands there names the schema.
Started by Alembic's own command, this file builds that connection itself.
"""

import os

from alembic import context

from scheduler_core.storage.postgres.migrate import configure_offline, connection_for_alembic
from scheduler_core.storage.postgres.revisions import enter_schema
from scheduler_core.storage.postgres.schema import is_ours, metadata

config = context.config
schema = config.attributes.get("schema") or os.environ.get("SCHEDULER_SCHEMA", "scheduler")


def run(connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=is_ours,
        version_table_schema=schema,
        scheduler_schema=schema,
    )
    with context.begin_transaction():
        enter_schema(connection, schema, *filter(None, [config.attributes.get("lock_timeout_ms")]))
        context.run_migrations()


if context.is_offline_mode():
    configure_offline(context, schema)
    with context.begin_transaction():
        context.run_migrations()
elif "connection" in config.attributes:
    run(config.attributes["connection"])
else:
    with connection_for_alembic() as connection:
        run(connection)
