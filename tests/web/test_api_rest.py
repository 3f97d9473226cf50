"""Calendars, the auditors' questions, tables, the doctor, tokens; and what a viewer may not do."""

from __future__ import annotations

from typing import Any

import httpx
import psycopg
from fastapi import FastAPI

from scheduler_core import Container, ScheduleJob
from scheduler_core.web.access.authentication import PUBLIC

Sql = psycopg.Connection[Any]

WEEKEND = {"excluded_weekdays": ["sat", "sun"]}


async def work() -> None: ...


async def test_calendars(operator: httpx.AsyncClient, container: Container) -> None:
    assert (await operator.put("/api/v1/calendars/c", json=WEEKEND)).status_code == 428
    made = await operator.put("/api/v1/calendars/c", json=WEEKEND, headers={"If-Match": "*"})
    assert made.status_code == 200, made.text
    assert made.headers["etag"] == '"1"'
    same = await operator.put("/api/v1/calendars/c", json=WEEKEND, headers={"If-Match": '"1"'})
    assert (same.status_code, same.headers["etag"]) == (200, '"1"')
    extended = await operator.post("/api/v1/calendars/c/extend", json={"excluded_dates": {"2026-12-25": "Christmas"}})
    assert extended.json()["excluded_dates"] == {"2026-12-25": "Christmas"}
    stale = await operator.put("/api/v1/calendars/c", json={}, headers={"If-Match": '"1"'})
    assert stale.status_code == 409
    reduced = await operator.post("/api/v1/calendars/c/reduce", json={"excluded_dates": {"2026-12-25": ""}})
    assert reduced.json()["excluded_dates"] == {}
    definition = ScheduleJob("j", "J", "interval", 60, work, calendars=["c"]).definition("UTC")
    await container.get_operations().declare([definition])
    assert (await operator.delete("/api/v1/calendars/c")).status_code == 409
    (listed,) = (await operator.get("/api/v1/calendars")).json()["items"]
    assert (listed["name"], listed["job_count"], listed["updated_by"]) == ("c", 1, "token operator")
    await container.get_operations().remove("j")
    assert (await operator.delete("/api/v1/calendars/c")).status_code == 204
    for answer in (
        await operator.get("/api/v1/calendars/c"),
        await operator.delete("/api/v1/calendars/c"),
        await operator.post("/api/v1/calendars/c/reduce", json={}),
    ):
        assert answer.status_code == 404
    wrong = await operator.post("/api/v1/calendars/c/extend", json={"excluded_dates": {"2026-02-31": ""}})
    assert wrong.status_code == 422


async def test_what_auditors_ask(viewer: httpx.AsyncClient, container: Container) -> None:
    await container.create_history()
    operations = container.get_operations()
    await operations.declare([ScheduleJob("j", "J", "interval", 60, work).definition("UTC")])
    await operations.pause("j", note="why")
    changes = (await viewer.get("/api/v1/audit/changes", params={"limit": 1})).json()
    assert changes["items"][0]["action"] == "paused"
    older = (await viewer.get("/api/v1/audit/changes", params={"cursor": changes["next_cursor"]})).json()
    assert [change["action"] for change in older["items"]] == ["added"]
    gaps = (await viewer.get("/api/v1/audit/gaps")).json()
    assert (gaps["clean"], gaps["jobs"]) == (True, 1)
    assert (await viewer.get("/api/v1/audit/duplicates")).json() == {"items": []}
    families = (await viewer.get("/api/v1/tables")).json()["items"]
    assert {family["family"] for family in families} >= {"runs", "attempts"}
    found = (await viewer.get("/api/v1/doctor")).json()
    assert [finding["subject"] for finding in found["findings"] if finding["kind"] == "paused"] == ["j"]
    assert "postgres" in found["facts"]


async def test_tokens_are_made_listed_and_revoked_by_an_admin_alone(
    admin: httpx.AsyncClient, operator: httpx.AsyncClient, viewer: httpx.AsyncClient, anybody: httpx.AsyncClient
) -> None:
    made = await admin.post("/api/v1/tokens", json={"name": "ci/cd", "scope": "operator", "days": 1})
    assert made.status_code == 201, made.text
    secret = {"Authorization": f"Bearer {made.json()['token']}"}
    assert (await anybody.get("/api/v1/me", headers=secret)).json() == {"name": "ci/cd", "scope": "operator"}
    assert (await admin.post("/api/v1/tokens", json={"name": "ci/cd"})).status_code == 409
    listed = await admin.get("/api/v1/tokens", params={"limit": 2})
    assert made.json()["token"] not in listed.text
    assert listed.json()["next_cursor"] is not None
    for client in (operator, viewer):
        assert (await client.get("/api/v1/tokens")).status_code == 403
        assert (await client.post("/api/v1/tokens", json={"name": "x"})).status_code == 403
        assert (await client.delete("/api/v1/tokens/admin")).status_code == 403
    assert (await admin.delete("/api/v1/tokens/ci%2Fcd")).status_code == 204
    assert (await admin.delete("/api/v1/tokens/ci%2Fcd")).status_code == 404
    assert (await anybody.get("/api/v1/me", headers=secret)).status_code == 401
    for wrong in ({"days": 0}, {"days": -1}, {"scope": "root"}, {"name": ""}, {"days": 1e9}):
        assert (await admin.post("/api/v1/tokens", json={"name": "x"} | wrong)).status_code == 422


SAFE = {"GET", "HEAD", "OPTIONS"}


def routes(app: FastAPI) -> list[tuple[str, str]]:
    found = [(method, path) for path, operations in app.openapi()["paths"].items() for method in operations]
    assert len(found) > 30
    return found


async def test_a_viewer_can_change_nothing_and_nobody_can_see_anything(
    app: FastAPI, viewer: httpx.AsyncClient, anybody: httpx.AsyncClient, container: Container, sql: Sql
) -> None:
    """Every route there is, also those that somebody adds later."""
    await container.get_operations().declare([ScheduleJob("j", "J", "interval", 60, work).definition("UTC")])
    state = "SELECT (SELECT jsonb_agg(j) FROM scheduler.jobs j), (SELECT count(*) FROM scheduler.runs)"
    before = sql.execute(state).fetchone()
    run_id = "019ab1f0-5c80-7a3e-9d41-6f0c2b8e7a15"
    for method, path in routes(app):
        url = path.replace("{job_id}", "j").replace("{run_id}", run_id).replace("{name}", "viewer")
        if path in PUBLIC:
            assert (await anybody.request(method, url)).status_code == 200, (method, path)
            continue
        assert (await anybody.request(method, url)).status_code == 401, (method, path)
        if method.upper() not in SAFE:
            assert (await viewer.request(method, url)).status_code == 403, (method, path)
    assert sql.execute(state).fetchone() == before


async def test_a_simulation_runs_beside(viewer: httpx.AsyncClient, container: Container) -> None:
    definition = ScheduleJob("j", "J", "interval", 3600, work).definition("UTC")
    await container.get_operations().declare([definition])
    found = await viewer.get("/api/v1/simulation", params={"days": 2, "since": "2026-12-01", "timezone": "UTC"})
    assert found.status_code == 200, found.text
    assert "48" in found.text
    for wrong in (
        {"timezone": "Mars/Olympus"},
        {"timezone": "--app"},
        {"days": 0},
        {"since": "9999-12-31", "days": 300},
    ):
        answer = await viewer.get("/api/v1/simulation", params=wrong)
        assert answer.status_code == 422, answer.text


async def test_a_family_is_forgotten(operator: httpx.AsyncClient, container: Container, sql: Sql) -> None:
    columns = "schema_name, family, partitioned, days_ahead"
    sql.execute(f"INSERT INTO scheduler.table_families ({columns}) VALUES ('s', 'f', false, 3)")
    assert (await operator.delete("/api/v1/tables/s/f")).status_code == 204
    assert (await operator.delete("/api/v1/tables/s/f")).status_code == 404
