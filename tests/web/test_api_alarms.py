"""Alarms and notifications over the API."""

from __future__ import annotations

from typing import Any

import httpx
import psycopg

from scheduler_core import Container, ScheduleJob
from scheduler_core.domain.alerts.decision import decide
from scheduler_core.storage.alerts.alarms import AlarmStore

Sql = psycopg.Connection[Any]


async def make_late(container: Container, sql: Sql, *job_ids: str) -> None:
    await container.prepare()
    jobs = [ScheduleJob(job_id, "J", "interval", 3600, "app:f") for job_id in job_ids]
    await container.get_operations().declare([job.definition("UTC") for job in jobs])
    sql.execute("UPDATE scheduler.jobs SET due_at = clock_timestamp() - interval '1 h', next_run = due_at")


async def look(container: Container) -> None:
    store = AlarmStore(container.get_database(), "somebody", delivers=True)
    found = await store.look(overdue_seconds=30, fresh_seconds=0)
    assert found is not None
    assert (await store.store(found, decide(found.facts))).applied


async def test_alarms_are_listed_watched_or_not_and_closed(
    viewer: httpx.AsyncClient, operator: httpx.AsyncClient, container: Container, sql: Sql
) -> None:
    await make_late(container, sql, "a/b", "c")
    unseen = (await viewer.get("/api/v1/alarms")).json()
    assert {(a["alarm_id"], a["kind"], a["job_id"]) for a in unseen["items"]} == {
        (None, "overdue", "a/b"),
        (None, "overdue", "c"),
    }
    await look(container)
    first = (await viewer.get("/api/v1/alarms", params={"limit": 1})).json()
    assert (first["looked_by"], first["unwatched_seconds"], len(first["items"])) == ("somebody", None, 1)
    second = (await viewer.get("/api/v1/alarms", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert second["next_cursor"] is None
    assert {a["job_id"] for page in (first, second) for a in page["items"]} == {"a/b", "c"}
    assert (await viewer.post("/api/v1/jobs/c/alarms/close")).status_code == 403
    assert (await operator.post("/api/v1/jobs/c/alarms/close", params={"kind": "failure"})).json() == {"closed": 0}
    assert (await operator.post("/api/v1/jobs/a%2Fb/alarms/close")).json() == {"closed": 1}
    assert len((await viewer.get("/api/v1/alarms")).json()["items"]) == 1
    closed = (await viewer.get("/api/v1/alarms", params={"closed": True})).json()["items"]
    assert [a["closed_why"] for a in closed if a["job_id"] == "a/b"] == ["closed by token operator"]


async def test_notifications_are_listed_and_a_test_is_queued(
    viewer: httpx.AsyncClient, operator: httpx.AsyncClient, container: Container, sql: Sql
) -> None:
    await make_late(container, sql, "j")
    await look(container)
    assert (await viewer.post("/api/v1/notifications/test")).status_code == 403
    queued = await operator.post("/api/v1/notifications/test")
    assert queued.status_code == 202
    page = (await viewer.get("/api/v1/notifications", params={"limit": 1})).json()
    assert [(n["notification_id"], n["event"]) for n in page["items"]] == [(queued.json()["notification_id"], "test")]
    older = (await viewer.get("/api/v1/notifications", params={"cursor": page["next_cursor"]})).json()
    assert [(n["event"], n["state"]) for n in older["items"]] == [("overdue", "waiting")]
