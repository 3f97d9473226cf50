"""The OpenAPI document is true: schemathesis tries all of it against a real server, and finds no answer that is not
in it and no 5xx; every operation says who may call it, and has an example.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from apps import idle
from fastapi import FastAPI
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob
from scheduler_core.domain.access.access import Scope
from scheduler_core.web import create_app
from scheduler_core.web.access.authentication import PUBLIC
from scheduler_core.web.login_throttle import LoginThrottle
from scheduler_core.web.server import ServerThread, listen

SECONDS = int(os.environ.get("SCHEMATHESIS_SECONDS", "20"))
REVOKING = "/api/v1/tokens/{name}"

EXCLUDED = (
    # What a job may be is more than a schema can say: a cron expression that never fires is a 422.
    "positive_data_acceptance"
)


@pytest.fixture
def container(allowing: Container) -> Container:
    return allowing


@pytest.fixture
async def served(container: Container) -> AsyncIterator[str]:
    """A leading replica that serves, and does not slow down who fails to get in: that is what is tried here."""

    def make_app(of_thread: Container) -> FastAPI:
        app = create_app(of_thread)
        app.state.scheduler.login_throttle = LoginThrottle(most_failures=10**9)
        return app

    scheduler = await container.start([ScheduleJob("daily_report", "Report", "cron", "0 * * * *", idle.work)])
    await eventually_async(lambda: scheduler.is_leader)
    with listen("127.0.0.1", 0) as found:
        port = found.getsockname()[1]
    thread = ServerThread(container, "127.0.0.1", port, make_app=make_app)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    thread.ask_to_stop()
    await thread.join()


@pytest.mark.timeout(13 * SECONDS + 300)
async def test_schemathesis_finds_nothing(served: str, container: Container, tmp_path: Path) -> None:
    _, secret = await container.get_tokens().create("fuzz\u00e4r /", Scope.ADMIN, days=1, by="tests")

    async def fuzz(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "schemathesis",
            "run",
            f"{served}/openapi.json",
            *("--header", f"Authorization: Bearer {secret}"),
            *("--checks", "all", "--exclude-checks", EXCLUDED),
            *("--request-timeout", "60", "--wait-for-schema", "30", "--no-color", "--continue-on-failure"),
            *words,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    # The token that it comes with is not to be found and revoked half-way.
    # A machine that is busy gets more time, until each operation has been tried.
    for seconds in (SECONDS, 3 * SECONDS, 9 * SECONDS):
        output = await fuzz("--max-examples", "10", "--max-time", str(seconds), "--exclude-path", REVOKING)
        tested = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", output)
        assert tested is not None
        selected, all_of_them, reached = map(int, tested.groups())
        if reached == selected:
            break
    await fuzz("--max-examples", "10", "--max-time", "5", "--phases", "examples,coverage", "--include-path", REVOKING)
    print(output[output.index("SUMMARY") :])  # the figures, with -s
    assert reached == selected == all_of_them - 1, "all but the one that is tried by itself"
    async with httpx.AsyncClient() as client:
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await client.get(f"{served}/api/v1/me", headers=headers)).status_code == 200


def test_every_operation_is_documented(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]

    def has_example(schema: dict[str, Any]) -> bool:
        if "$ref" in schema:
            return has_example(schemas[schema["$ref"].rpartition("/")[2]])
        parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *filter(None, [schema.get("items")])]
        return "examples" in schema or any(has_example(part) for part in parts)

    lacking = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            if path in PUBLIC:
                assert "security" not in operation, (method, path)
                continue
            assert operation["security"], (method, path)
            assert {"401", "403", "422", "429", "503"} <= set(operation["responses"]), (method, path)
            for status, response in operation["responses"].items():
                for media, content in response.get("content", {}).items():
                    if media == "application/json" and not has_example(content["schema"]):
                        lacking.append((method, path, status))
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None and not has_example(body["schema"]):
                lacking.append((method, path, "body"))
    assert not lacking


async def test_the_document_holds_no_data_and_needs_no_token(anybody: httpx.AsyncClient) -> None:
    assert (await anybody.get("/openapi.json")).status_code == 200
    for closed in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert (await anybody.get(closed)).status_code == 401
