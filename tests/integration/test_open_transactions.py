"""A transaction that somebody leaves open is found, named, and can be ended as the finding says."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from waiting import eventually_async

from scheduler_core import Container
from scheduler_core.domain.alerts.decision import decide
from scheduler_core.storage.alerts import alarms
from scheduler_core.storage.reads import audit


async def found(container: Container) -> dict[str, str]:
    findings = await container.get_audit().findings(overdue_seconds=10.0)
    return {one["subject"]: one["detail"] for one in findings if one["kind"] == "open transaction"}


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

        async def is_gone() -> bool:
            return f"session {pid}" not in await found(container)

        await eventually_async(is_gone, what="a session that was told to end has ended")


async def test_an_alarm_opens_while_one_is_open_and_closes_with_it(
    container: Container, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One alarm, however many there are: it names who has the oldest."""
    await container.prepare()
    monkeypatch.setattr(alarms, "LONG_SECONDS", 0.0)
    with closing(psycopg.connect(make_conninfo(database_url, application_name="a forgotten tab"))) as somebody:
        somebody.execute("SELECT pg_current_xact_id()")
        with closing(psycopg.connect(database_url)) as another:
            another.execute("SELECT pg_current_xact_id()")
            (opened,) = await looked(container)
            assert (opened["kind"], opened["job_id"]) == ("transaction", "")
            assert opened["since"] == somebody.execute("SELECT now()").fetchone()[0]  # type: ignore[index]
            assert opened["detail"].startswith(f"session {somebody.info.backend_pid} of postgres (a forgotten tab) has")
            assert opened["detail"].endswith(f"pg_terminate_backend({somebody.info.backend_pid}) (and 1 more)")
        (renewed,) = await looked(container)
        assert renewed["alarm_id"] == opened["alarm_id"]
        assert renewed["detail"].endswith(")"), "the other one has ended"
    (closed,) = await looked(container)
    assert closed["closed_why"] == "it has ended"


async def test_an_alarm_of_a_later_version_is_left_to_it(container: Container, sql: psycopg.Connection[Any]) -> None:
    await container.prepare()
    sql.execute("ALTER TABLE scheduler.alarms DROP CONSTRAINT alarms_kind_check")
    sql.execute(
        "INSERT INTO scheduler.alarms (kind, job_id, job_name, since, detail, failed_runs) "
        "VALUES ('of tomorrow', '', '', now(), '', 0)"
    )
    (left,) = await looked(container)
    assert left["closed_at"] is None


async def looked(container: Container) -> list[dict[str, Any]]:
    """Look once, as any replica does, and list what came of it."""
    store = container.get_alarms()
    look = await store.look(overdue_seconds=30.0, fresh_seconds=0.0)
    assert look is not None
    await store.store(look, decide(look.facts))
    return await store.listed(closed_too=True)
