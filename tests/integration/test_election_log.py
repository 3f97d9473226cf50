"""What keeps a replica from taking part may last for hours, and is not said with each of its tries."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container
from scheduler_core.storage.fire.control_session import PostgresControlSession

Sql = psycopg.Connection[Any]

TRIES = 8


async def test_the_same_trouble_is_said_once(
    container: Container, sql: Sql, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, leader = Counter[str](), PostgresControlSession.leader

    async def counted(self: PostgresControlSession) -> Any:
        tries["leader"] += 1
        return await leader(self)

    monkeypatch.setattr(PostgresControlSession, "leader", counted)
    caplog.set_level(logging.WARNING)
    scheduler = await container.start()
    await eventually_async(lambda: scheduler.is_leader, what="it leads")
    sql.execute("DELETE FROM scheduler.leader")
    await eventually_async(lambda: not scheduler.is_leader, what="it leads no more")
    tries.clear()
    await eventually_async(lambda: tries["leader"] >= TRIES, what="it tries again and again")
    sql.execute("INSERT INTO scheduler.leader (term) SELECT max(term) FROM scheduler.leader_terms")
    await eventually_async(lambda: scheduler.is_leader, what="it leads again")
    said = Counter(r.getMessage() for r in caplog.records if "trying again" in r.getMessage())
    assert any("has lost its row" in message for message in said)
    assert max(said.values()) == 1, said
