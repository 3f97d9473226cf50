"""Runs over HTTP: what is sent twice is done once; listings, retry, cancel, backfill, export."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.storage.access.idempotency import UNANSWERED_SECONDS, IdempotencyStore
from scheduler_core.storage.fire.runs import RunStore
from scheduler_core.storage.postgres.keys import new_run_id

Sql = psycopg.Connection[Any]

COUNT = "SELECT count(*) FROM scheduler.runs WHERE origin = 'trigger'"


async def work() -> None: ...


async def fails() -> None:
    raise ValueError("<script>alert(1)</script>")


async def lasts() -> None:
    await asyncio.sleep(600)


@pytest.fixture
async def jobs(container: Container) -> None:
    definitions = [
        ScheduleJob("j", "J", "cron", "0 * * * *", work).definition("UTC"),
        ScheduleJob("k", "K", "interval", 3600, work).definition("UTC"),
    ]
    await container.get_operations().declare(definitions)


@pytest.fixture
async def leading(container: Container) -> None:
    """A replica in this process leads, and knows the callbacks above."""
    scheduler = await container.start(
        [
            ScheduleJob("works", "Works", "interval", 3600, work),
            ScheduleJob("fails", "Fails", "interval", 3600, fails, max_retries=0),
            ScheduleJob("lasts", "Lasts", "interval", 3600, lasts),
        ]
    )
    await eventually_async(lambda: scheduler.is_leader)


async def ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    async def ask() -> dict[str, Any] | None:
        run: dict[str, Any] = (await client.get(f"/api/v1/runs/{run_id}")).json()
        return run if run["status"] in ("succeeded", "failed", "cancelled") else None

    found = await eventually_async(ask)
    assert found is not None
    return found


async def test_a_key_makes_one_run_however_often_it_is_sent(operator: httpx.AsyncClient, jobs: None, sql: Sql) -> None:
    async def send(key: str) -> httpx.Response:
        return await operator.post("/api/v1/jobs/j/trigger", headers={"Idempotency-Key": key})

    answers = await asyncio.gather(*(send("one") for _ in range(6)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert sql.execute(COUNT).fetchone() == (1,)
    again = await send("one")
    assert again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    first = next(a for a in answers if a.status_code == 201 and "idempotent-replayed" not in a.headers)
    assert again.json() == first.json()
    assert (await send("two")).json()["run_id"] != again.json()["run_id"]
    assert sql.execute(COUNT).fetchone() == (2,)
    assert (await operator.post("/api/v1/jobs/j/trigger")).status_code == 201
    assert sql.execute(COUNT).fetchone() == (3,)


async def test_another_request_under_the_same_key_is_refused(
    operator: httpx.AsyncClient, admin: httpx.AsyncClient, jobs: None, sql: Sql
) -> None:
    key = {"Idempotency-Key": "one"}
    await operator.post("/api/v1/jobs/j/trigger", headers=key)
    other = await operator.post("/api/v1/jobs/k/trigger", headers=key)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:scheduler-core:key-reused"
    assert (await admin.post("/api/v1/jobs/k/trigger", headers=key)).status_code == 201, "keys are each token's own"
    assert (await operator.post("/api/v1/jobs/j/trigger", headers={"Idempotency-Key": " "})).status_code == 422


async def test_a_key_of_a_refused_request_may_be_used_again(operator: httpx.AsyncClient, container: Container) -> None:
    key = {"Idempotency-Key": "one"}
    assert (await operator.post("/api/v1/jobs/late/trigger", headers=key)).status_code == 404
    await container.get_operations().declare([ScheduleJob("late", "L", "interval", 60, work).definition("UTC")])
    assert (await operator.post("/api/v1/jobs/late/trigger", headers=key)).status_code == 201


@pytest.mark.parametrize("was_made", [True, False])
async def test_whoever_repeats_after_a_crash_gets_one_run(
    operator: httpx.AsyncClient, jobs: None, sql: Sql, monkeypatch: pytest.MonkeyPatch, was_made: bool
) -> None:
    """The process that had the key died before it could say what came of it; it may have made the run, or not."""
    key = {"Idempotency-Key": "one"}
    trigger = RunStore.trigger

    async def dies(store: RunStore, *arguments: Any) -> Any:
        if was_made:
            await trigger(store, *arguments)
        raise ServerUnreachableError("nobody knows")

    with monkeypatch.context() as patched:
        patched.setattr(RunStore, "trigger", dies)
        assert (await operator.post("/api/v1/jobs/j/trigger", headers=key)).status_code == 503
    early = await operator.post("/api/v1/jobs/j/trigger", headers=key)
    assert early.status_code == 409
    assert int(early.headers["retry-after"]) > 0
    sql.execute(
        "UPDATE scheduler.idempotency_keys SET claimed_at = claimed_at - make_interval(secs => %s)",
        [UNANSWERED_SECONDS + 1],
    )
    answers = await asyncio.gather(*(operator.post("/api/v1/jobs/j/trigger", headers=key) for _ in range(4)))
    assert 201 in {answer.status_code for answer in answers}
    assert sql.execute(COUNT).fetchone() == (1,)
    final = await operator.post("/api/v1/jobs/j/trigger", headers=key)
    row = sql.execute("SELECT run_id::text FROM scheduler.runs WHERE origin = 'trigger'").fetchone()
    assert row is not None
    assert final.json()["run_id"] == row[0]


async def test_keys_are_forgotten_after_a_day(
    operator: httpx.AsyncClient, jobs: None, sql: Sql, container: Container
) -> None:
    key = {"Idempotency-Key": "one"}
    await operator.post("/api/v1/jobs/j/trigger", headers=key)
    sql.execute("UPDATE scheduler.idempotency_keys SET claimed_at = claimed_at - interval '25 hours'")
    assert "idempotent-replayed" not in (await operator.post("/api/v1/jobs/j/trigger", headers=key)).headers
    assert sql.execute("SELECT count(*) FROM scheduler.idempotency_keys").fetchone() == (1,)
    assert isinstance(container.get_idempotency(), IdempotencyStore)


async def test_a_triggered_run_ends_and_is_shown_with_its_attempts(operator: httpx.AsyncClient, leading: None) -> None:
    made = (await operator.post("/api/v1/jobs/fails/trigger")).json()
    run = await ended(operator, made["run_id"])
    assert (run["status"], run["origin"]) == ("failed", "trigger")
    assert run["attempt_list"][0]["error_type"] == "ValueError"
    assert "raise ValueError" in run["attempt_list"][0]["traceback"]
    again = await operator.post(f"/api/v1/runs/{made['run_id']}/retry")
    assert again.status_code == 201
    assert again.json()["rerun_of"] == made["run_id"]
    assert (await ended(operator, again.json()["run_id"]))["rerun_of"] == made["run_id"]


async def test_a_run_is_cancelled(operator: httpx.AsyncClient, leading: None, sql: Sql) -> None:
    made = (await operator.post("/api/v1/jobs/lasts/trigger")).json()
    address = f"/api/v1/runs/{made['run_id']}"

    async def running() -> bool:
        return bool((await operator.get(address)).json()["status"] == "running")

    await eventually_async(running)
    assert (await operator.post(f"{address}/retry")).status_code == 409
    asked = await operator.post(f"{address}/cancel")
    assert asked.status_code == 200
    assert asked.json()["status"] in ("running", "cancelled")
    run = await ended(operator, made["run_id"])
    assert (run["status"], run["cancel_requested_by"]) == ("cancelled", "token operator")
    other = (await operator.post("/api/v1/jobs/works/trigger")).json()["run_id"]
    await ended(operator, other)
    assert (await operator.post(f"/api/v1/runs/{other}/cancel")).status_code == 409


async def test_a_backfill_is_previewed_and_made_once(operator: httpx.AsyncClient, jobs: None, sql: Sql) -> None:
    end = datetime.now(UTC) - timedelta(minutes=1)
    asked: dict[str, Any] = {"from": (end - timedelta(hours=3)).isoformat(), "until": end.isoformat()}
    preview = await operator.post("/api/v1/jobs/j/backfill", json=asked | {"dry_run": True})
    assert preview.status_code == 201, preview.text
    assert (preview.json()["occurrences"], preview.json()["made"]) == (3, 0)
    assert preview.json()["from"].startswith(asked["from"][:19])
    key = {"Idempotency-Key": "b"}
    made = await operator.post("/api/v1/jobs/j/backfill", json=asked, headers=key)
    assert (made.json()["made"], len(made.json()["to_make"])) == (3, 3)
    again = await operator.post("/api/v1/jobs/j/backfill", json=asked, headers=key)
    assert again.json() == made.json(), "the same answer, although nothing is left to make"
    third = await operator.post("/api/v1/jobs/j/backfill", json=asked)
    assert (third.json()["made"], len(third.json()["existing"])) == (0, 3)
    assert sql.execute("SELECT count(*) FROM scheduler.runs WHERE origin = 'backfill'").fetchone() == (3,)
    future = asked | {"until": (end + timedelta(days=1)).isoformat()}
    assert (await operator.post("/api/v1/jobs/j/backfill", json=future)).status_code == 422
    far = asked | {"until": "9999-12-31T23:59:59Z"}
    assert (await operator.post("/api/v1/jobs/j/backfill", json=far)).status_code == 422


async def test_runs_are_walked_page_by_page_and_filtered(operator: httpx.AsyncClient, jobs: None) -> None:
    made = [(await operator.post(f"/api/v1/jobs/{job}/trigger")).json() for job in "jkjkj"]
    for url, wanted in (
        ("/api/v1/runs", {run["run_id"] for run in made}),
        ("/api/v1/jobs/j/runs", {run["run_id"] for run in made if run["job_id"] == "j"}),
    ):
        seen: list[str] = []
        cursor = None
        while True:
            parameters = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await operator.get(url, params=parameters)).json()
            seen += [item["run_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert set(seen) == wanted
        assert len(seen) == len(wanted)
    latest = (await operator.get("/api/v1/runs", params={"limit": 1})).json()["items"][0]
    assert latest["run_id"] == max(run["run_id"] for run in made)
    for parameters, count in (
        ({"job_id": "k"}, 2),
        ({"status": "succeeded"}, 0),
        ({"status": ["pending", "running"]}, 5),
        ({"since": "2999-01-01T00:00:00Z"}, 0),
        ({"until": "2001-01-01"}, 0),
    ):
        page = (await operator.get("/api/v1/runs", params=parameters)).json()
        assert len(page["items"]) == count, parameters
    assert (await operator.get("/api/v1/runs", params={"status": "no"})).status_code == 422
    assert (await operator.get("/api/v1/runs", params={"since": "0001-01-01T00:00:00+14:00"})).status_code == 422


async def test_the_latest_runs_are_found_however_far_apart_they_are(
    viewer: httpx.AsyncClient, container: Container, sql: Sql
) -> None:
    """Pages of any size show the same runs in the same order; a missing minute or month is jumped over."""
    now = datetime.now(UTC)
    ages = [timedelta(0), *(timedelta(seconds=s) for s in (1, 59, 61, 500, 4_000, 90_000, 300_000)), timedelta(days=28)]
    ages += [timedelta(seconds=-30), timedelta(hours=5, microseconds=1)]
    await container.get_tables().ensure_history({(now - age).date() for age in ages})
    for age in ages:
        instant = now - age
        sql.execute(
            "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status,"
            " definition_version) VALUES (%s, 'j', 'J', %s, %s, 'schedule', 'succeeded', 1)",
            [str(new_run_id(instant)), instant, instant],
        )
    rows = sql.execute("SELECT run_id::text FROM scheduler.runs ORDER BY run_id DESC").fetchall()
    everything = [row[0] for row in rows]
    for limit in (1, 2, 5, 100):
        seen: list[str] = []
        cursor = None
        while True:
            parameters = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            page = (await viewer.get("/api/v1/runs", params=parameters)).json()
            seen += [item["run_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == everything, limit
    old = {"until": (now - timedelta(days=2)).isoformat()}
    assert len((await viewer.get("/api/v1/runs", params=old)).json()["items"]) == 2
    young = {"since": (now - timedelta(seconds=60)).isoformat()}
    assert len((await viewer.get("/api/v1/runs", params=young)).json()["items"]) == 4


async def test_runs_are_exported(operator: httpx.AsyncClient, jobs: None) -> None:
    made = (await operator.post("/api/v1/jobs/j/trigger")).json()
    since = {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    rows = list(csv.DictReader(io.StringIO((await operator.get("/api/v1/runs/export", params=since)).text)))
    assert [row["run_id"] for row in rows] == [made["run_id"]]
    lines = await operator.get("/api/v1/runs/export", params=since | {"format": "jsonl", "job_id": "j"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert json.loads(lines.text)["run_id"] == made["run_id"]
    assert (await operator.get("/api/v1/runs/export", params={"since": "2999-01-01"})).status_code == 422


async def test_who_leads_and_resigning(operator: httpx.AsyncClient, container: Container) -> None:
    nobody = (await operator.get("/api/v1/leader")).json()
    assert (nobody["instance_id"], nobody["replicas"]) == (None, [])
    assert (await operator.post("/api/v1/leader/resign")).status_code == 409
    scheduler = await container.start()
    await eventually_async(lambda: scheduler.is_leader)
    leader = (await operator.get("/api/v1/leader")).json()
    assert leader["instance_id"] == scheduler.instance.instance_id
    (replica,) = (await operator.get("/api/v1/replicas")).json()["items"]
    assert replica["role"] == "leader"
    asked = await operator.post("/api/v1/leader/resign")
    assert (asked.status_code, asked.json()["term"]) == (202, leader["term"])

    async def resigned() -> bool:
        terms = (await operator.get("/api/v1/leader/history", params={"limit": 1})).json()
        return bool(terms["items"][0]["term"] > leader["term"] or terms["items"][0]["ended_at"])

    await eventually_async(resigned)
    terms = (await operator.get("/api/v1/leader/history")).json()["items"]
    assert terms[-1]["end_reason"] == "asked to"
