"""Jobs over HTTP: what the command line can do to them; and of two operators the second is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from apps import idle
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob
from scheduler_core.domain.calendars.calendars import Calendar

Sql = psycopg.Connection[Any]

JOB = {
    "job_id": "j",
    "schedule_type": "interval",
    "schedule_value": 3600,
    "callback": "apps.idle:work",
    "timezone": "UTC",
}


@pytest.fixture
def container(allowing: Container) -> Container:
    """Callbacks of apps.idle may be named."""
    return allowing


async def added(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    answer = await client.post("/api/v1/jobs", json=JOB | fields)
    assert answer.status_code == 201, answer.text
    return answer


async def test_a_job_is_added_shown_edited_and_removed(operator: httpx.AsyncClient, sql: Sql) -> None:
    made = await added(operator, kwargs={"a": [1, None]}, tags=["t"])
    assert made.headers["etag"] == '"1"'
    assert made.headers["location"].endswith("/api/v1/jobs/j")
    shown = (await operator.get("/api/v1/jobs/j")).json()
    assert shown["schedule"] == "every hour"
    assert shown["definition"]["kwargs"] == {"a": [1, None]}
    edited = await operator.put(
        "/api/v1/jobs/j", json=shown["definition"] | {"max_retries": 7}, headers={"If-Match": made.headers["etag"]}
    )
    assert edited.status_code == 200, edited.text
    assert edited.headers["etag"] == '"2"'
    assert edited.json()["definition"]["max_retries"] == 7
    assert (await operator.delete("/api/v1/jobs/j", headers={"If-Match": '"2"'})).status_code == 204
    assert (await operator.get("/api/v1/jobs/j")).status_code == 404
    changes = sql.execute("SELECT action, source, actor FROM scheduler_audit.job_changes ORDER BY change_id").fetchall()
    assert {(source, actor) for _, source, actor in changes} == {("api", "token operator")}
    assert len(changes) == 3


async def test_what_a_get_shows_a_put_takes_back_unchanged(operator: httpx.AsyncClient, container: Container) -> None:
    await container.get_calendars().put(Calendar("c", excluded_weekdays=("sun",)))
    definition = ScheduleJob(
        "whole",
        "Whole",
        "daily",
        ["14:30", "06:00"],
        idle.work,
        timezone="Europe/Berlin",
        start_at="2026-01-01T00:00:00",
        end_at="2030-01-01T00:00:00",
        jitter=2,
        calendars=["c"],
        args=[1, "x"],
        kwargs={"k": None},
        misfire="all",
        overlap="queue",
        delivery="at_most_once",
        timeout=5,
        disable_after=3,
        tags=["a", "b"],
        use_distributed_lock=True,
        lock_key="k",
        dst="both",
    ).definition("UTC")
    await container.get_operations().declare([definition])
    shown = await operator.get("/api/v1/jobs/whole")
    same = await operator.put("/api/v1/jobs/whole", json=shown.json()["definition"], headers={"If-Match": '"1"'})
    assert same.status_code == 200, same.text
    assert same.headers["etag"] == '"1"'
    (stored,) = await container.get_storage().jobs.load(["whole"])
    assert getattr(stored, "definition", None) == definition


async def test_two_operators_edit_one_job_and_the_second_is_told(operator: httpx.AsyncClient) -> None:
    """The issue's own words: the second gets 409, nothing lost."""
    both_saw = (await added(operator)).headers["etag"]
    answers = await asyncio.gather(
        *(
            operator.put("/api/v1/jobs/j", json=JOB | {"max_retries": number}, headers={"If-Match": both_saw})
            for number in range(5, 10)  # each is a change: JOB has 3
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    (won,) = (answer.json() for answer in answers if answer.status_code == 200)
    assert (await operator.get("/api/v1/jobs/j")).json()["definition"] == won["definition"]
    lost = next(answer for answer in answers if answer.status_code == 409)
    assert "version 2" in lost.json()["detail"]
    for verb, body in (("pause", {}), ("resume", {}), ("revert", {"version": 1})):
        stale = await operator.post(f"/api/v1/jobs/j/{verb}", json=body, headers={"If-Match": both_saw})
        assert stale.status_code == 409
    assert (await operator.delete("/api/v1/jobs/j", headers={"If-Match": both_saw})).status_code == 409


async def test_an_edit_says_what_it_saw(operator: httpx.AsyncClient) -> None:
    await added(operator)
    assert (await operator.put("/api/v1/jobs/j", json=JOB)).status_code == 428
    assert (await operator.put("/api/v1/jobs/j", json=JOB, headers={"If-Match": "3"})).status_code == 422
    assert (await operator.put("/api/v1/jobs/j", json=JOB, headers={"If-Match": "*"})).status_code == 200
    other = await operator.put("/api/v1/jobs/j", json=JOB | {"job_id": "k"}, headers={"If-Match": "*"})
    assert other.status_code == 422


async def test_adding_a_job_that_is_there_changes_nothing(operator: httpx.AsyncClient) -> None:
    await added(operator)
    again = await operator.post("/api/v1/jobs", json=JOB | {"max_retries": 9})
    assert again.status_code == 409
    assert (await operator.get("/api/v1/jobs/j")).json()["definition"]["max_retries"] == 3


async def test_only_allowed_callbacks_are_named(operator: httpx.AsyncClient, container: Container, sql: Sql) -> None:
    for callback in ("os:system", "subprocess:Popen", "apps.idlex:work"):
        refused = await operator.post("/api/v1/jobs", json=JOB | {"callback": callback})
        assert refused.status_code == 422
        assert refused.json()["type"] == "urn:scheduler-core:callback-not-allowed"
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)
    await added(operator)
    edited = await operator.put("/api/v1/jobs/j", json=JOB | {"callback": "os:system"}, headers={"If-Match": "*"})
    assert edited.status_code == 422
    file = '[jobs.evil]\nevery = 5\ncallback = "os:system"\n'
    imported = await operator.post("/api/v1/jobs-file?dry_run=false", content=file)
    assert imported.status_code == 422
    assert (await operator.get("/api/v1/jobs")).json()["items"][0]["callback"] == "apps.idle:work"


async def test_a_callback_that_a_living_replica_knows_may_be_named(
    operator: httpx.AsyncClient, container: Container
) -> None:
    knows = "test_api_jobs:known_to_the_replica"
    refused = await operator.post("/api/v1/jobs", json=JOB | {"callback": knows})
    assert refused.status_code == 422
    scheduler = await container.start()
    await scheduler.add_job(ScheduleJob("own", "Own", "interval", 3600, known_to_the_replica))

    async def may() -> bool:
        return (await operator.post("/api/v1/jobs", json=JOB | {"callback": knows})).status_code in (201, 409)

    await eventually_async(may)


async def known_to_the_replica() -> None: ...


async def test_a_job_of_a_closure_keeps_its_callback_when_it_is_edited(
    operator: httpx.AsyncClient, container: Container
) -> None:
    definition = ScheduleJob("local", "Local", "interval", 60, lambda: None).definition("UTC")
    await container.get_operations().declare([definition])
    shown = (await operator.get("/api/v1/jobs/local")).json()["definition"]
    assert "<lambda>" in shown["callback"]
    edited = await operator.put("/api/v1/jobs/local", json=shown | {"max_retries": 1}, headers={"If-Match": '"1"'})
    assert edited.status_code == 200, edited.text
    assert edited.json()["definition"]["callback"] == shown["callback"]


async def test_pause_resume_and_revert(operator: httpx.AsyncClient) -> None:
    await added(operator)
    paused = await operator.post("/api/v1/jobs/j/pause", json={"note": "why", "until": "2030-01-01T00:00:00Z"})
    assert (paused.json()["paused"], paused.json()["pause_note"]) == (True, "why")
    assert paused.json()["paused_by"] == "token operator"
    assert (await operator.post("/api/v1/jobs/j/pause")).json()["pause_note"] is None
    past = await operator.post("/api/v1/jobs/j/pause", json={"until": "2020-01-01T00:00:00Z"})
    assert past.status_code == 422
    assert (await operator.post("/api/v1/jobs/j/resume")).json()["paused"] is False
    await operator.put("/api/v1/jobs/j", json=JOB | {"max_retries": 9}, headers={"If-Match": "*"})
    reverted = await operator.post("/api/v1/jobs/j/revert", json={"version": 1})
    assert reverted.json()["definition"]["max_retries"] == 3
    assert (await operator.post("/api/v1/jobs/j/revert", json={"version": 99})).status_code == 404


async def test_listings_are_walked_page_by_page(operator: httpx.AsyncClient) -> None:
    names = [f"job {number}" for number in range(7)]
    for name in names:
        await added(operator, job_id=name)
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        parameters = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await operator.get("/api/v1/jobs", params=parameters)).json()
        seen += [item["job_id"] for item in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            break
    assert (seen, pages) == (names, 3)
    for broken in ("x", "bnVsbA", "e30", "A" * 999, "¡"):
        answer = await operator.get("/api/v1/jobs", params={"cursor": broken})
        assert answer.status_code == 422, broken


@pytest.mark.parametrize("job_id", ["a/b", "a b", "../etc", "ü", "100%", "a?b#c", "%2F", "'; DROP TABLE jobs; --"])
async def test_any_id_has_an_address(operator: httpx.AsyncClient, job_id: str) -> None:
    location = (await added(operator, job_id=job_id)).headers["location"]
    for url in (f"/api/v1/jobs/{quote(job_id, safe='')}", location):
        shown = await operator.get(url)
        assert shown.status_code == 200, (url, shown.text)
        assert shown.json()["job_id"] == job_id


async def test_a_wrong_definition_says_what_is_wrong(operator: httpx.AsyncClient, sql: Sql) -> None:
    for fields, says in (
        ({"schedule_value": -5}, "schedule_value"),
        ({"schedule_type": "cron", "schedule_value": "0 0 31 2 *"}, "0 0 31 2 *"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"max_retriess": 1}, "max_retriess"),
        ({"calendars": ["no such"]}, "no such"),
        ({"job_id": "\u0000"}, "job_id"),
        ({"job_id": "x\ud800"}, "job_id"),
        ({"kwargs": {"a": "\u0000"}}, "kwargs"),
        ({"start_at": "yesterday"}, "start_at"),
    ):
        content, kind = json.dumps(JOB | fields), {"content-type": "application/json"}
        answer = await operator.post("/api/v1/jobs", content=content, headers=kind)
        assert answer.status_code == 422, (fields, answer.text)
        assert says in answer.json()["detail"]
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)


async def test_a_row_that_can_not_be_read_is_shown_with_its_problem(operator: httpx.AsyncClient, sql: Sql) -> None:
    await added(operator)
    sql.execute("UPDATE scheduler.jobs SET timezone = 'Mars/Olympus'")
    shown = (await operator.get("/api/v1/jobs/j")).json()
    assert "Mars/Olympus" in shown["problem"]
    assert shown["definition"] is None
    assert (await operator.put("/api/v1/jobs/j", json=JOB, headers={"If-Match": "*"})).status_code == 422
    assert (await operator.get("/api/v1/jobs")).status_code == 200


async def test_jobs_travel_as_a_file(operator: httpx.AsyncClient) -> None:
    await added(operator)
    file = (await operator.get("/api/v1/jobs-file")).text
    assert "[jobs.j]" in file
    wanted = (
        file.replace("every = 3600", "every = 60") + '\n[jobs.k]\ncron = "0 6 * * *"\ncallback = "apps.idle:work"\n'
    )
    shown = (await operator.post("/api/v1/jobs-file", content=wanted)).json()
    assert (shown["applied"], [job["job_id"] for job in shown["added"]]) == (False, ["k"])
    assert shown["changed"][0]["fields"]["every"] == {"old": 3600, "new": 60}
    assert (await operator.get("/api/v1/jobs/k")).status_code == 404
    done = (await operator.post("/api/v1/jobs-file?dry_run=false", content=wanted)).json()
    assert done["applied"]
    assert (await operator.get("/api/v1/jobs/j")).json()["schedule_value"] == 60
    pruned = (await operator.post("/api/v1/jobs-file?dry_run=false&prune=true", content=file)).json()
    assert [job["job_id"] for job in pruned["removed"]] == ["k"]
    empty = await operator.post("/api/v1/jobs-file?dry_run=false&prune=true")
    assert (empty.status_code, "there is no body" in empty.json()["detail"]) == (422, True)
    broken = await operator.post("/api/v1/jobs-file", content="jobs = 5")
    assert broken.status_code == 422


async def test_what_is_asked_about_a_job(operator: httpx.AsyncClient) -> None:
    await added(operator)
    explained = (await operator.get("/api/v1/jobs/j/explain")).json()
    assert explained["known"]
    assert explained["sentences"]
    upcoming = (await operator.get("/api/v1/jobs/j/next", params={"count": 3})).json()
    assert len(upcoming["items"]) == 3
    spec = {"schedule_type": "cron", "schedule_value": "30 14 * * mon-fri", "timezone": "Europe/Berlin"}
    assert (
        (await operator.get("/api/v1/next", params=spec))
        .json()["items"][0]["local"]
        .endswith((":00+01:00", ":00+02:00"))
    )
    wrong = spec | {"schedule_value": "every day"}
    assert (await operator.get("/api/v1/next", params=wrong)).status_code == 422
    (change,) = (await operator.get("/api/v1/jobs/j/changes")).json()["items"]
    assert (change["action"], change["actor"], change["source"]) == ("added", "token operator", "api")
    for question in ("explain", "next"):
        assert (await operator.get(f"/api/v1/jobs/nothing/{question}")).status_code == 404
