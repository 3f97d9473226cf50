"""What the tests of the dashboard stand on: a scheduler with something to show, and a browser that listens."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import commands
import psycopg
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect
from psycopg import sql as psycopg_sql
from replicas import Replicas
from waiting import eventually

from scheduler_core.runtime.child_processes import die_with_parent
from scheduler_core.runtime.this_host import host_name
from scheduler_core.storage.postgres import migrate
from scheduler_core.storage.postgres.keys import new_run_id

AXE = (Path(__file__).parent / "web" / "browser" / "vendor" / "axe.min.js").read_text(encoding="utf-8")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENS = os.environ.get("SCREENS")
"""Where screenshots go; nowhere without it. `make screens` renews those of the docs."""

HISTORY_MINUTES = 14

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

expect.set_options(timeout=30_000)


@dataclass
class Stage:
    """A scheduler with something to show, and where its pages are."""

    url: str
    sql: psycopg.Connection[Any]
    environment: dict[str, str]
    replicas: Replicas
    tokens: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, Any] = field(default_factory=dict)
    """Of sessions that were begun by the form, for each scope."""

    def run(self, *words: str) -> str:
        """`scheduler WORDS…`."""
        done = commands.as_text(commands.scheduler(*words, environment=self.environment, folder=self.replicas.logs))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def one(self, statement: str, *parameters: Any) -> Any:
        """The first value that a statement gives."""
        row = self.sql.execute(statement, parameters).fetchone()
        return None if row is None else row[0]

    def wait_for_failures(self) -> None:
        """Until a run of orders-import has failed, and something has been counted."""
        eventually(
            lambda: self.one(
                "SELECT count(*) FROM scheduler.runs WHERE job_id = 'orders-import' AND status = 'failed'"
            ),
            what="a run that failed",
        )


@contextmanager
def staged(server_url: str, redis_url: str, folder: Path) -> Iterator[Stage]:
    """A database of its own, filled with a quarter of an hour's history; two replicas, and a server of pages."""
    name = f"pages_{secrets.token_hex(4)}"
    base = server_url.rpartition("/")[0]
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(psycopg_sql.SQL("CREATE DATABASE {}").format(psycopg_sql.Identifier(name)))
    url = f"{base}/{name}"
    migrate.upgrade(url)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("SCHEDULER_", "PYTEST_", "COV_"))},
        "SCHEDULER_DATABASE_URL": url,
        "SCHEDULER_REDIS_URL": redis_url,
        "SCHEDULER_TIMEZONE": "UTC",
        "SCHEDULER_INSTANCE_NAME": "web",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    replicas = Replicas(environment, "apps.dashboard", folder)
    server = None
    try:
        with psycopg.connect(url, autocommit=True) as sql:
            made = Stage("", sql, environment, replicas)
            _before(made)
            replicas.start(2)
            replicas.wait_for(sql, 2)
            _prepare(made)
            server, made.url = _serve(environment, folder)
            yield made
    finally:
        if server is not None:
            server.terminate()
            server.wait(20)
        replicas.stop()
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(psycopg_sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg_sql.Identifier(name)))


def _serve(environment: dict[str, str], folder: Path) -> tuple[subprocess.Popen[str], str]:
    log = folder / "web.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "scheduler_core.cli", "web", "--port", "0"],
            env=environment,
            stdout=file,
            stderr=file,
            text=True,
            cwd=folder,
            preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
        )
    line = eventually(lambda: next((line for line in log.read_text().splitlines() if "http://" in line), None))
    assert line is not None
    return server, line[line.index("http://") :].split(";")[0].split()[0]


def _before(stage: Stage) -> None:
    """Terms of yesterday and of the last hour, as replicas that are gone left them."""
    now = datetime.now(UTC)
    ends = [
        (now - timedelta(minutes=minutes), reason) for minutes, reason in ((47, "resigned"), (31, "died"), (6, "died"))
    ]
    began, gap = now - timedelta(minutes=58), None
    for term, (ended, reason) in enumerate(ends, start=1):
        stage.sql.execute(
            "INSERT INTO scheduler.leader_terms VALUES (%s, %s, 'web-host', %s, %s, %s, %s)",
            (term, f"web-{(1201, 1207, 1201)[term - 1]}-0{term}f3a9c1", began, ended, reason, gap),
        )
        gap = timedelta(seconds=0.021 * term)
        began = ended + gap
    stage.sql.execute("UPDATE scheduler.leader SET term = 3")


def _prepare(stage: Stage) -> None:
    """What was before these replicas: fires of the last minutes, a calendar, a pause, a change."""
    for scope in ("viewer", "operator"):
        made = json.loads(stage.run("tokens", "create", f"{scope}-of-tests", "--scope", scope, "--json"))
        stage.tokens[scope] = made["token"]
    stage.run("calendars", "import", "german-holidays", "--country", "DE", "--years", "2026-2030")
    stage.run("calendars", "add", "weekends", "--weekday", "Saturday", "--weekday", "Sunday", "--note", "Nobody is in")
    stage.run("jobs", "pause", "invoices", "--note", "The printer is out of paper, ticket 4711")
    until = datetime.now(UTC).replace(microsecond=0)
    rows = []
    for second in range(60, HISTORY_MINUTES * 60):
        at = until - timedelta(seconds=second)
        is_bad, late = second % 97 == 0, timedelta(milliseconds=0.4 + (second * 37 % 50) / 40 + 6 * (second % 61 == 0))
        rows.append(
            (
                new_run_id(at),
                "heartbeat",
                "Heartbeat, each second",
                at,
                at,
                "failed" if is_bad else "succeeded",
                at + late,
                at + late + timedelta(milliseconds=2 + second % 7),
                "TimeoutError: no answer" if is_bad else None,
            )
        )
    with stage.sql.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, attempt, "
            "started_at, finished_at, error, term, instance_id, definition_version) "
            "VALUES (%s, %s, %s, %s, %s, 'schedule', %s, 1, %s, %s, %s, 3, 'web-1201-03f3a9c1', 1) "
            "ON CONFLICT DO NOTHING",
            rows,
        )


@dataclass
class Watcher:
    """A page, and everything that it complains about."""

    page: Page
    stage: Stage
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    async def sign_in(self, scope: str = "operator") -> None:
        """By the form the first time, and from then on with the session that it began."""
        if scope in self.stage.cookies:
            await self.page.context.add_cookies(self.stage.cookies[scope])
            return
        await self.page.goto(f"{self.stage.url}/sign-in")
        await self.page.get_by_label("Token").fill(self.stage.tokens[scope])
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(f"{self.stage.url}/")
        self.stage.cookies[scope] = await self.page.context.cookies()

    async def go(self, path: str) -> Page:
        await self.page.goto(f"{self.stage.url}{path}")
        return self.page

    async def check(self, picture: str | None = None) -> None:
        """In both themes: nothing complained, nothing was broken into, and axe-core finds nothing serious.

        Parameters: picture, the name of one for the docs, if they are being renewed.
        """
        page = self.page
        assert await page.evaluate("window.hacked === undefined")
        assert not self.complaints, self.complaints
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"the page is {wide} pixels wider than its window"
        await page.evaluate(AXE)
        for theme in THEMES:
            await page.emulate_media(color_scheme=theme)
            await self._check_access(theme)
        # axe tries a style of its own, which the policy forbids as it should.
        self.complaints.clear()
        if picture is not None and SCREENS is not None:
            await self._shoot(picture)

    async def _check_access(self, theme: str) -> None:
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        found = await self.page.evaluate("tags => axe.run({runOnly: tags})", tags)
        told = [
            f"{theme}: {one['impact']} {one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert not told, "\n".join(told)

    async def _shoot(self, name: str) -> None:
        # Pictures of the docs tell nothing about the machine that they were made on.
        await self.page.evaluate(
            """([root, host]) => {
                document.addEventListener("htmx:sse:before:message", (event) => event.preventDefault(), true);
                const word = new RegExp(`\\\\b${host}\\\\b`, "g");
                const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
                for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                    const told = node.data.replaceAll(root, "/srv/app").replaceAll(word, "web-host");
                    if (told !== node.data) node.data = told;
                }
                scrollTo(0, 0);
            }""",
            [str(Path(__file__).parents[1]), host_name()],
        )
        for theme in THEMES:
            await self.page.emulate_media(color_scheme=theme)
            await self.page.screenshot(path=f"{SCREENS}/{name}-{theme}.png", full_page=False)


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    async with async_playwright() as playwright:
        # Without a sandbox of its own, because root and most containers can't give it one; it opens our pages only.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def watching(context: BrowserContext, stage: Stage) -> AsyncIterator[Watcher]:
    """A page of this context that is listened to."""
    context.set_default_timeout(30_000)
    made = Watcher(await context.new_page(), stage)
    made.listen()
    try:
        yield made
    finally:
        await context.close()
