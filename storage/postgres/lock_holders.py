"""Who holds an advisory lock: whoever may log in may take any, and so what waits for one says whom it waits for."""

from __future__ import annotations

from typing import Any

HOLDER = """
SELECT a.pid, coalesce(a.usename, 'nobody') AS role, coalesce(a.state, 'working') AS state,
       coalesce(nullif(a.application_name, ''), 'nameless') AS application
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = CAST((CAST(:key AS bigint) >> 32) & 4294967295 AS oid)
  AND l.objid = CAST(CAST(:key AS bigint) & 4294967295 AS oid)
ORDER BY a.xact_start
LIMIT 1
"""


def describe_holder(row: Any) -> str:
    """A row of HOLDER in words, and how it is ended."""
    return (
        f"session {row.pid} of {row.role} ({row.application}, {row.state}) holds the lock; if that is none of ours, "
        f"SELECT pg_terminate_backend({row.pid})"
    )
