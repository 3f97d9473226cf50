"""The schema as operators handle it: brought to head, checked, or printed as statements for somebody else to run."""

from __future__ import annotations

from scheduler_core.container import Container
from scheduler_core.domain.errors import SchemaError
from scheduler_core.domain.revision import Fit, explain, fit
from scheduler_core.storage.postgres import migrate


def statements_to_head(schema: str, since: str) -> str:
    """The statements that bring a schema from a revision ("base": from nothing) to head."""
    return migrate.sql(schema, since)


async def bring_to_head(container: Container) -> str:
    """Migrate, beside replicas that fire, and have the history's days.

    Returns: how the schema stands now. Raises SchemaError.
    """
    await migrate.upgrade_async(await container.find_database_url(), container.settings.schema)
    await container.create_history()
    return await require_head(container)


async def require_head(container: Container) -> str:
    """How the schema stands. Raises SchemaError if this code does not work with it, or it is not at head."""
    await container.check_schema()
    schema = container.settings.schema
    current, own = await migrate.revisions(await container.find_database_url(), schema)
    told = explain(schema, current, own)
    if fit(current, own) is Fit.OLDER:
        raise SchemaError(told)
    return told
