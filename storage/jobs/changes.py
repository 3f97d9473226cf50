"""The log of changes: how a statement says who makes it, and what a job was at an earlier version.

Triggers write the log (the migrations hold them). They learn the rest from settings of the statement's own
transaction: those of a session do not survive a transaction pooler, or belong to its last user.
"""

from __future__ import annotations

from datetime import datetime

from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.storage.postgres.database import Database

# Stands in the outermost SELECT of a statement: that is executed whatever the rest finds, and before the triggers.
TELL = """concat(set_config('scheduler.source', :source, true), set_config('scheduler.actor', :actor, true),
              set_config('scheduler.effective_at', :effective_at, true),
              set_config('scheduler.reverts_to', :reverts_to, true)) AS told"""

DOCUMENT = """
SELECT new FROM "{plain_schema}_audit".job_changes WHERE job_id = :job_id AND version = :version
"""


def telling(actor: Actor, *, at: datetime | None = None, reverts_to: int | None = None) -> dict[str, str]:
    """The parameters of TELL.

    Parameters: at, up to when the definition before has accounted for its occurrences; reverts_to, the version that
    the change brings back.
    """
    return {
        "source": actor.source.value,
        "actor": actor.name,
        "effective_at": at.isoformat() if at is not None else "",
        "reverts_to": str(reverts_to) if reverts_to is not None else "",
    }


async def definition_at(database: Database, job_id: str, version: int) -> JobDefinition | None:
    """What a job's definition was from this version on; None if the log has no such version, or it is a removal.

    Raises InvalidJobError if the definition can't be read by this version of the code.
    """
    row = await database.fetch_one(
        DOCUMENT.replace("{plain_schema}", database.schema), {"job_id": job_id, "version": version}
    )
    return JobDefinition.from_columns(row.new) if row is not None and row.new is not None else None
