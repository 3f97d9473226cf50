"""Attacks, each tried: tokens, sessions and other sites' pages, texts and names, sizes. docs/api.md has the table."""

from __future__ import annotations

import json
from typing import Annotated, Any

import httpx
import psycopg
import pytest
from apps import idle
from fastapi import Depends, FastAPI, Form
from web_clients import with_token

from scheduler_core import Container, ScheduleJob
from scheduler_core.domain.access.access import Scope, csrf_token_of
from scheduler_core.web.access import Caller, require
from scheduler_core.web.access.limits import MOST_BODY_BYTES

Sql = psycopg.Connection[Any]

STATE = """
SELECT (SELECT jsonb_agg(j ORDER BY job_id) FROM scheduler.jobs j), (SELECT count(*) FROM scheduler.runs),
       (SELECT count(*) FROM scheduler.job_changes), (SELECT count(*) FROM scheduler.calendars),
       (SELECT count(*) FROM scheduler.api_tokens)
"""

HOSTILE = (
    "' OR '1'='1",
    "'; DROP TABLE scheduler.jobs; --",
    "1 UNION SELECT token_digest FROM scheduler.api_tokens",
    "$1",
    ":job_id",
    "{schema}",
    "{audit}",
    "%s",
    "\\",
    '"',
    "../../../../etc/passwd",
    "..\\..\\windows",
    "/etc/passwd",
    "a\u202eb",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "a" * 5_000,
    "\u0000",
    "\r\nSet-Cookie: x=1",
)


@pytest.fixture
async def job(container: Container) -> None:
    definition = ScheduleJob("j", "<script>alert('name')</script>", "interval", 3600, idle.work).definition("UTC")
    await container.get_operations().declare([definition])


async def session_of(container: Container, secret: str) -> str:
    token = await container.get_tokens().find(secret)
    assert token is not None
    opened = await container.get_sessions().open(token, seconds=600)
    assert opened is not None
    return opened.secret


# Tokens.


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YTpi",
        "bearer " + "x" * 10_000,
        "Bearer sched_",
        "Bearer \u00e9".encode(),
    ],
)
async def test_what_is_no_token_opens_nothing(anybody: httpx.AsyncClient, authorization: str | bytes) -> None:
    answer = await anybody.get("/api/v1/jobs", headers={"Authorization": authorization})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_counts_in_the_header_alone(anybody: httpx.AsyncClient, make_token: Any) -> None:
    """In an address it would end up in logs and histories."""
    secret = await make_token(Scope.ADMIN)
    for name in ("token", "access_token", "authorization", "api_key"):
        assert (await anybody.get("/api/v1/jobs", params={name: secret})).status_code == 401
    cookie = {"Cookie": f"scheduler_session={secret}"}
    assert (await anybody.get("/api/v1/jobs", headers=cookie)).status_code == 401


async def test_a_digest_that_was_read_from_the_database_is_no_token(
    anybody: httpx.AsyncClient, make_token: Any, sql: Sql
) -> None:
    await make_token(Scope.ADMIN)
    row = sql.execute("SELECT encode(token_digest, 'hex'), token_id::text FROM scheduler.api_tokens").fetchone()
    assert row is not None
    for stolen in row:
        headers = {"Authorization": f"Bearer {stolen}"}
        assert (await anybody.get("/api/v1/jobs", headers=headers)).status_code == 401


async def test_guessing_is_slowed_down_and_neighbours_go_on(
    app: FastAPI, anybody: httpx.AsyncClient, viewer: httpx.AsyncClient, make_token: Any
) -> None:
    assert (await viewer.get("/api/v1/me")).status_code == 200
    statuses = [
        (await anybody.get("/api/v1/me", headers={"Authorization": f"Bearer guess-{n}"})).status_code for n in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    refused = await anybody.get("/api/v1/me", headers={"Authorization": "Bearer guess"})
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (await viewer.get("/api/v1/me")).status_code == 200
    async with with_token(app, await make_token(Scope.ADMIN)) as newcomer:
        assert (await newcomer.get("/api/v1/me")).status_code == 429
    elsewhere = httpx.ASGITransport(app, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://scheduler.test") as other:
        assert (await other.get("/api/v1/me")).status_code == 401


# Sessions and pages of other sites.


@pytest.fixture
async def session(app: FastAPI, container: Container, make_token: Any) -> str:
    return await session_of(container, await make_token(Scope.OPERATOR))


async def test_a_change_in_a_session_needs_the_token_of_its_page(
    anybody: httpx.AsyncClient, session: str, job: None, sql: Sql, container: Container, make_token: Any
) -> None:
    anybody.cookies.set("scheduler_session", session)
    assert (await anybody.get("/api/v1/jobs/j")).status_code == 200
    before = sql.execute(STATE).fetchone()
    other = await session_of(container, await make_token(Scope.ADMIN))
    before = sql.execute(STATE).fetchone()
    good = csrf_token_of(session)
    for headers in (
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "x"},
        {"X-CSRF-Token": "\u00e9"},
        {"X-CSRF-Token": csrf_token_of(other)},
        {"X-CSRF-Token": session},
        {"X-CSRF-Token": good, "Origin": "https://evil.test"},
        {"X-CSRF-Token": good, "Origin": "null"},
        {"X-CSRF-Token": good, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": good, "Sec-Fetch-Site": "same-site"},
    ):
        encoded = {name: value.encode() for name, value in headers.items()}
        for method, url in (("POST", "/api/v1/jobs/j/pause"), ("DELETE", "/api/v1/jobs/j")):
            assert (await anybody.request(method, url, headers=encoded)).status_code == 403, headers  # type: ignore[arg-type]
    assert sql.execute(STATE).fetchone() == before
    right = {"X-CSRF-Token": good, "Origin": "http://scheduler.test", "Sec-Fetch-Site": "same-origin"}
    assert (await anybody.post("/api/v1/jobs/j/pause", headers=right)).status_code == 200


async def test_a_viewers_session_changes_nothing(
    anybody: httpx.AsyncClient, container: Container, make_token: Any, job: None, sql: Sql
) -> None:
    session = await session_of(container, await make_token(Scope.VIEWER))
    anybody.cookies.set("scheduler_session", session)
    headers = {"X-CSRF-Token": csrf_token_of(session)}
    before = sql.execute(STATE).fetchone()
    assert (await anybody.post("/api/v1/jobs/j/pause", headers=headers)).status_code == 403
    assert (await anybody.delete("/api/v1/jobs/j", headers=headers)).status_code == 403
    assert sql.execute(STATE).fetchone() == before


@pytest.fixture
def pages(app: FastAPI) -> None:
    """A form of somebody else's, beside the dashboard's."""

    @app.post("/form")
    async def form(
        text: Annotated[str, Form()], _caller: Annotated[Caller, Depends(require(Scope.OPERATOR))]
    ) -> dict[str, str]:
        return {"text": text}


async def test_signing_in_a_form_and_signing_out(
    pages: None, anybody: httpx.AsyncClient, make_token: Any, sql: Sql
) -> None:
    secret = await make_token(Scope.OPERATOR)
    assert (await anybody.post("/sign-in", data={"token": "wrong"})).status_code == 401
    evil = await anybody.post("/sign-in", data={"token": secret}, headers={"Origin": "https://evil.test"})
    assert evil.status_code == 403, "nobody is signed in as somebody else by another site"
    answer = await anybody.post("/sign-in", data={"token": secret})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert secret not in cookie
    session = anybody.cookies["scheduler_session"]
    row = sql.execute("SELECT s::text FROM scheduler.api_sessions s").fetchone()
    assert row is not None
    assert session not in row[0]
    assert (await anybody.post("/form", data={"text": "x"})).status_code == 403
    field = {"csrf_token": csrf_token_of(session)}
    assert (await anybody.post("/form", data={"text": "x"} | field)).json() == {"text": "x"}
    assert (await anybody.post("/sign-out")).status_code == 403
    assert (await anybody.post("/sign-out", data=field)).status_code == 303
    anybody.cookies.set("scheduler_session", session)
    assert (await anybody.get("/api/v1/jobs")).status_code == 401, "a cookie that was kept opens nothing any more"


async def test_the_cookie_is_secure_where_the_connection_is(pages: None, app: FastAPI, make_token: Any) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://scheduler.test") as client:
        answer = await client.post("/sign-in", data={"token": await make_token(Scope.VIEWER)})
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


async def test_a_person_is_shown_where_to_sign_in(anybody: httpx.AsyncClient) -> None:
    asked = await anybody.get("/jobs?x=//evil.test", headers={"Accept": "text/html"})
    assert asked.status_code == 303
    assert asked.headers["location"] == "/sign-in?next=/jobs%3Fx%3D//evil.test"
    for path, accept in (("/api/v1/jobs", "text/html"), ("/jobs", "application/json")):
        assert (await anybody.get(path, headers={"Accept": accept})).status_code == 401


# Texts.


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_texts_find_nothing_and_break_nothing(
    admin: httpx.AsyncClient, job: None, sql: Sql, hostile: str
) -> None:
    """SQL, paths, templates, headers: in every place that takes a text."""
    before = sql.execute(STATE).fetchone()
    from urllib.parse import quote

    name = quote(hostile, safe="")
    answers = [
        await admin.get(f"/api/v1/jobs/{name}"),
        await admin.get(f"/api/v1/jobs/{name}/runs"),
        await admin.get(f"/api/v1/jobs/{name}/explain"),
        await admin.get(f"/api/v1/calendars/{name}"),
        await admin.get(f"/api/v1/runs/{name}"),
        await admin.get(f"/static/{name}"),
        await admin.delete(f"/api/v1/tokens/{name}"),
        await admin.post(f"/api/v1/jobs/{name}/trigger"),
        *[
            await admin.get(url, params={parameter: hostile})
            for url, parameter in (
                ("/api/v1/jobs", "cursor"),
                ("/api/v1/runs", "job_id"),
                ("/api/v1/runs", "status"),
                ("/api/v1/runs", "since"),
                ("/api/v1/runs", "cursor"),
                ("/api/v1/audit/changes", "job_id"),
                ("/api/v1/audit/duplicates", "job_id"),
                ("/api/v1/next?schedule_type=cron", "schedule_value"),
                ("/api/v1/next?schedule_type=interval&schedule_value=5", "timezone"),
            )
        ],
        await admin.post("/api/v1/jobs-file?dry_run=false", content=hostile.encode()),
        await admin.put("/api/v1/jobs/j", json={}, headers={"If-Match": hostile.encode("unicode_escape")}),
    ]
    assert all(answer.status_code < 500 for answer in answers)
    assert all("set-cookie" not in answer.headers for answer in answers)
    assert sql.execute(STATE).fetchone() == before


async def test_markup_is_never_served_as_a_page(operator: httpx.AsyncClient, job: None) -> None:
    markup = "<img src=x onerror=alert(1)>"
    paused = await operator.post("/api/v1/jobs/j/pause", json={"note": markup})
    assert paused.json()["pause_note"] == markup
    unknown = await operator.get(f"/api/v1/jobs/{markup.replace(' ', '%20')}")
    for answer in (paused, unknown, await operator.get("/api/v1/jobs"), await operator.get("/api/v1/jobs/j/changes")):
        assert answer.headers["content-type"] in ("application/json", "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe-inline" not in answer.headers["content-security-policy"]


async def test_every_answer_carries_the_security_headers(
    app: FastAPI, anybody: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("secret=hunter2")

    answers = {
        200: await admin.get("/api/v1/me"),
        303: await anybody.get("/", headers={"Accept": "text/html"}),
        401: await anybody.get("/api/v1/me"),
        404: await admin.get("/nowhere"),
        405: await admin.patch("/api/v1/jobs"),
        413: await admin.post("/api/v1/jobs", content=b" " * (MOST_BODY_BYTES + 1)),
        500: await admin.get("/broken"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "hunter2" not in answers[500].text
    assert answers[405].headers["allow"] == "GET, POST"


# Sizes.


async def test_bodies_that_are_too_large_are_refused(admin: httpx.AsyncClient, sql: Sql) -> None:
    async def endless() -> Any:
        for _ in range(MOST_BODY_BYTES // 65_536 + 2):
            yield b" " * 65_536

    kind = {"content-type": "application/json"}
    before = sql.execute(STATE).fetchone()
    assert (await admin.post("/api/v1/jobs", content=b" " * (MOST_BODY_BYTES + 1), headers=kind)).status_code == 413
    assert (await admin.post("/api/v1/jobs", content=endless(), headers=kind)).status_code == 413
    assert (await admin.post("/api/v1/jobs-file?dry_run=false", content=endless())).status_code == 413
    lying = {**kind, "content-length": "1e9"}
    assert (await admin.post("/api/v1/jobs", content=b"{}", headers=lying)).status_code == 413
    assert sql.execute(STATE).fetchone() == before


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        b'{"job_id": ' + b"9" * 5_000 + b"}",
        b"\xff\xfe",
        b'{"kwargs": {"a": 1e999}, "job_id": "x", "schedule_type": "interval", "schedule_value": 5, "callback": "a:b"}',
        b"null",
        b"",
    ],
    ids=lambda body: repr(body[:12]),
)
async def test_bodies_that_are_bombs_are_refused(admin: httpx.AsyncClient, body: bytes) -> None:
    answer = await admin.post("/api/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_form_of_another_site_can_not_pose_as_json(admin: httpx.AsyncClient, sql: Sql) -> None:
    body = {"job_id": "x", "schedule_type": "interval", "schedule_value": 5, "callback": "apps.idle:work"}
    answer = await admin.post("/api/v1/jobs", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert answer.status_code == 422
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)
