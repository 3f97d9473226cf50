"""A transaction that somebody leaves open is found, named, and can be ended as the finding says."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from scheduler_core import Container
from storage import audit


async def found(container: Container) -> dict[str, str]:
    troubles = await container.get_audit().troubles(overdue_seconds=10.0)
    return {one["subject"]: one["detail"] for one in troubles if one["kind"] == "open transaction"}


@pytest.mark.parametrize("begins", ["SELECT pg_current_xact_id()", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"])
async def test_who_holds_dead_rows_is_named(
    begins: str, container: Container, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """river #59: a tab of a client that somebody forgot, and a dump that takes an hour."""
    await container.prepare()
    with closing(psycopg.connect(make_conninfo(database_url, application_name="a forgotten tab"))) as somebody:
        somebody.execute(begins)
        somebody.execute("SELECT count(*) FROM scheduler.jobs")
        assert await found(container) == {}, "a moment is no trouble"
        monkeypatch.setattr(audit, "LONG_SECONDS", 0.0)
        pid = somebody.info.backend_pid
        told = (await found(container))[f"session {pid}"]
        assert "of postgres (a forgotten tab) has a transaction open since" in told
        assert "idle in transaction: it keeps every row that died since" in told
        with psycopg.connect(database_url, autocommit=True) as operator:
            operator.execute(told.partition("End it: ")[2])  # type: ignore[arg-type]
        assert f"session {pid}" not in await found(container)
