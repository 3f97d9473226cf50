"""Who gets in: tokens that are missing, wrong, expired or revoked open nothing."""

from __future__ import annotations

from typing import Any

import httpx
import psycopg

from scheduler_core import Container
from scheduler_core.domain.access.access import Scope

Sql = psycopg.Connection[Any]


async def test_nobody_gets_in_without_a_token(anybody: httpx.AsyncClient) -> None:
    answer = await anybody.get("/api/v1/jobs")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["type"] == "urn:scheduler-core:not-signed-in"


async def test_a_viewer_reads(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.get("/api/v1/jobs")
    assert answer.status_code == 200
    assert answer.json() == {"items": [], "next_cursor": None}
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_a_revoked_and_an_expired_token_open_nothing_at_once(
    container: Container, anybody: httpx.AsyncClient, make_token: Any, sql: Sql
) -> None:
    for name, end in (
        ("revoked", lambda: container.get_tokens().revoke("revoked", by="tests")),
        ("expired", None),
    ):
        secret = await make_token(Scope.ADMIN, name, days=1)
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await anybody.get("/api/v1/jobs", headers=headers)).status_code == 200
        if end is not None:
            await end()
        else:
            sql.execute("UPDATE scheduler.api_tokens SET expires_at = now() WHERE name = 'expired'")
        answer = await anybody.get("/api/v1/jobs", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:scheduler-core:bad-token"


async def test_secrets_are_not_stored(make_token: Any, sql: Sql) -> None:
    secret = await make_token(Scope.VIEWER)
    row = sql.execute("SELECT t::text FROM scheduler.api_tokens t").fetchone()
    assert row is not None
    assert secret not in row[0]
    assert secret.removeprefix("sched_").encode().hex() not in row[0]


async def test_a_session_ends_with_its_token(container: Container, make_token: Any) -> None:
    token = await container.get_tokens().find(await make_token(Scope.OPERATOR))
    assert token is not None
    session = await container.get_sessions().open(token, seconds=3600)
    assert session is not None
    found = await container.get_sessions().find(session.secret)
    assert found is not None
    assert found.scope is Scope.OPERATOR
    await container.get_tokens().revoke("operator", by="tests")
    assert await container.get_sessions().find(session.secret) is None
    assert await container.get_sessions().open(token, seconds=3600) is None
