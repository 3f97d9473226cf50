"""Pages over HTTP, without a browser: where they stand, what they refuse, and the stream that keeps them fresh."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from waiting import eventually_async

from scheduler_core import Container
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.web import create_app
from scheduler_core.web.pages import stream as stream_module

Sql = psycopg.Connection[Any]
PAGES = ("/", "/jobs", "/job?id=night", "/runs", "/replicas", "/calendars", "/audit")
AS_A_PERSON = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
async def a_job(container: Container) -> None:
    job = ScheduleJob("night", "Night <b>", "daily", "03:00", "apps.idle:work", timezone="UTC")
    await container.get_operations().declare([job.definition("UTC")])


@pytest.fixture(autouse=True)
async def nothing_is_read_any_more(app: FastAPI) -> AsyncIterator[None]:
    yield
    if hasattr(app.state, "pages_hub"):
        await eventually_async(lambda: app.state.pages_hub.is_idle)


async def test_mounted_pages_link_to_each_other_below_their_root(container: Container, make_token: Any) -> None:
    outer = FastAPI()
    outer.mount("/scheduler", create_app(container))
    headers = {"Authorization": f"Bearer {await make_token(Scope.OPERATOR)}", **AS_A_PERSON}
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://outer.test", headers=headers) as client:
        for path in PAGES:
            answer = await client.get(f"/scheduler{path}")
            assert answer.status_code == 200, path
            addresses = re.findall(r'(?:href|src|action|hx-get|hx-sse:connect)="([^"]*)"', answer.text)
            local = [address for address in addresses if not address.startswith("#")]
            assert local
            assert all(address.startswith("/scheduler/") for address in local), local
            for address in {address.replace("&amp;", "&") for address in local if "/static/" in address}:
                assert (await client.get(address)).status_code == 200
    async with httpx.AsyncClient(transport=transport, base_url="http://outer.test") as stranger:
        answer = await stranger.get("/scheduler/job?id=night", headers=AS_A_PERSON)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/scheduler/sign-in?next=/job%3Fid%3Dnight"


async def test_no_page_styles_or_runs_anything_inline(operator: httpx.AsyncClient) -> None:
    for path in PAGES:
        text = (await operator.get(path)).text
        assert not re.search(r"<[^>]*\sstyle=", text), path
        assert not re.search(r"<[^>]*\son\w+=", text), path
        assert "<style" not in text
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize(
    "path",
    [
        "/runs?before=nonsense",
        "/runs?job=night&before=2026-01-01",
        "/runs?status=nonsense",
        "/runs?since=tomorrow-ish",
        "/audit?before=1e9",
        "/audit?before=99999999999999999999999",
        "/audit?question=nonsense",
        "/replicas?window=1y",
        "/replicas?before=-",
        "/jobs?state=nonsense",
        f"/jobs?q={'x' * 500}",
        "/jobs?q=%00",
    ],
)
async def test_what_can_not_be_read_is_refused_on_a_page(viewer: httpx.AsyncClient, path: str) -> None:
    answer = await viewer.get(path, headers=AS_A_PERSON)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert "The request can&#39;t be read" in answer.text


async def test_what_is_not_there_is_a_page(viewer: httpx.AsyncClient) -> None:
    for path in ("/job?id=nobody", "/run?id=nobody", "/run?id=01890000-0000-7000-8000-000000000000", "/nowhere"):
        answer = await viewer.get(path, headers=AS_A_PERSON)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"].startswith("text/html")


async def test_static_files_are_ours_and_nothing_else_is(anybody: httpx.AsyncClient) -> None:
    answer = await anybody.get("/static/dashboard.css")
    assert answer.status_code == 200
    assert (
        await anybody.get("/static/dashboard.css", headers={"If-None-Match": answer.headers["etag"]})
    ).status_code == 304
    for name in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "vendor/README.md", "nothing.css"):
        assert (await anybody.get(f"/static/{name}")).status_code in (401, 404), name


async def test_paging_through_jobs_shows_each_once(operator: httpx.AsyncClient, container: Container) -> None:
    jobs = [ScheduleJob(f"job-{n:03}", f"Job {n}", "interval", 3600, "apps.idle:work") for n in range(120)]
    await container.get_operations().declare([job.definition("UTC") for job in jobs])
    seen: list[str] = []
    address: str | None = "/jobs?q=job-"
    while address is not None:
        text = (await operator.get(address)).text
        seen += re.findall(r'class="row-link" href="/job\?id=(job-\d+)"', text)
        found = re.search(r'rel="next" href="([^"]+)"', text)
        address = found and found.group(1).replace("&amp;", "&")
    assert seen == [job.job_id for job in jobs]


async def first_event(app: FastAPI, path: str, token: str) -> tuple[int, str]:
    """The status of a stream and its first event. httpx's own transport waits for the whole of an answer."""
    got: list[dict[str, Any]] = []
    leave = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        got.append(message)

    address, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": address,
        "raw_path": address.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"scheduler.test"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("scheduler.test", 80),
    }
    serving = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]

    def body() -> str:
        return b"".join(message.get("body", b"") for message in got).decode()

    try:
        await eventually_async(lambda: "data: " in body() or serving.done(), what="an event")
        return got[0]["status"], body()
    finally:
        leave.set()
        await asyncio.wait_for(serving, 30)


async def test_the_stream_shows_a_viewer_nothing_to_press(app: FastAPI, make_token: Any) -> None:
    status, shown = await first_event(app, "/stream?view=job&id=night", await make_token(Scope.VIEWER))
    assert status == 200
    assert "Night &lt;b&gt;" in shown
    assert "/job/trigger" not in shown
    _, shown = await first_event(app, "/stream?view=job&id=night", await make_token(Scope.OPERATOR))
    assert "/job/trigger" in shown
    assert "csrf" not in shown, "what many are sent must hold nobody's secret"
    assert not app.state.pages_hub.watched


async def test_who_may_not_see_a_page_may_not_hear_of_it(anybody: httpx.AsyncClient, viewer: httpx.AsyncClient) -> None:
    """Also as a browser asks, which for a page would be sent to sign in."""
    answer = await anybody.get("/stream?view=jobs", headers={"Accept": "text/html, text/event-stream"})
    assert answer.status_code == 401
    for view in ("audit", "nothing"):
        assert (await viewer.get(f"/stream?view={view}")).status_code == 404


async def test_a_revoked_token_hears_no_more_than_a_stream(
    app: FastAPI, container: Container, make_token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream ends by itself, and the next one asks who it is."""
    monkeypatch.setattr(stream_module, "STREAM_SECONDS", 0.5)
    secret = await make_token(Scope.VIEWER)
    headers = {"Authorization": f"Bearer {secret}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler.test", headers=headers) as client:
        listening = asyncio.create_task(client.get("/stream?view=jobs"))
        await eventually_async(lambda: hasattr(app.state, "pages_hub") and app.state.pages_hub.watched)
        await container.get_tokens().revoke("viewer", by="tests")
        assert (await asyncio.wait_for(listening, 30)).status_code == 200
        assert (await client.get("/stream?view=jobs")).status_code == 401
