"""Where Alembic meets the scheduler's schema.

`storage.migrate` hands over a connection that is already inside a transaction, whose `search_path` is the
scheduler's schema and nothing else: migrations name their tables bare, and one code base serves any schema.
Started by Alembic's own command, this file builds that connection itself.
"""

from alembic import context

from storage.migrate import configure_offline, connection_for_alembic
from storage.schema import is_ours, metadata

config = context.config


def run(connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=is_ours,
        scheduler_schema=config.attributes.get("schema", "scheduler"),
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    configure_offline(context, config.attributes.get("schema", "scheduler"))
    with context.begin_transaction():
        context.run_migrations()
elif "connection" in config.attributes:
    run(config.attributes["connection"])
else:
    with connection_for_alembic() as connection:
        run(connection)
