"""Every code block of the documentation runs: page by page, in order, as its reader would carry it out.

What other tests carry out is listed in ELSEWHERE. What nobody does says why on the page, and there is a bound to it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from page_player import Player
from pages import ROOT, Block, blocks_of, pages
from receiver import SECRET, receiving
from replicas import Replicas
from waiting import eventually

PAGES = pages()
BLOCKS = {str(page.relative_to(ROOT)): blocks_of(page) for page in PAGES}

ELSEWHERE = {
    ("docs/deployment.md", "dockerfile"): "tests/deploy/test_page.py",
    ("docs/audit.md", "sql"): "tests/integration/test_audit_page.py",
    ("docs/schedules.md", "python"): "tests/oracle/test_page.py",
    ("docs/testing.md", "python"): "tests/unit/test_docs_testing.py",
    ("docs/restore.md", "sh"): "tests/failover/test_restore.py",
    ("docs/restore.md", "sql"): "tests/failover/test_restore.py",
    ("docs/tables.md", "sql"): "tests/unit/test_docs_tables.py",
    ("docs/roles.md", "sql"): "tests/integration/test_roles.py",
}

LANGUAGES = {"sh", "python", "toml", "json", "yaml", "sql", "text", "dockerfile"}

MOST_NOT_RUN = 15

APP = """
import os

from scheduler_core import job

@job("daily_report", daily="14:30", timezone="UTC", max_retries=0)
def send_report(**options):
    if os.environ.get("REPORTS_FAIL"):
        raise ConnectionError("the printer is out of paper")

@job("clean_up", every=90)
def clean_up():
    pass
"""

WORK = "def {}(**options):\n    pass\n"

STAGE = {
    "app/__init__.py": "",
    "app/jobs.py": APP,
    "app/billing.py": WORK.format("send_invoices"),
    "app/customers.py": WORK.format("migrate"),
    "app/sync.py": WORK.format("pull"),
    "myapp/__init__.py": "",
    "myapp/jobs.py": APP,
    "jobs.toml": '[jobs.sync]\nevery = 600\ncallback = "app.sync:pull"\n',
}

SETTINGS = {
    "docs/runs.md": {"SCHEDULER_HISTORY_DAYS": "3650"},
    "docs/alarms.md": {"SCHEDULER_ALARM_INTERVAL": "0.2", "SCHEDULER_WEBHOOK_SECRET": SECRET, "REPORTS_FAIL": "1"},
}

PORTS = ("8080", "9100", "8001", "8002", "8003")
"""That pages name; the tests' pages run side by side."""

WITH_A_REPLICA = {"docs/alarms.md", "docs/audit-log.md", "docs/runs.md", "README.md"}


def played(page: str) -> list[Any]:
    return [block for block in BLOCKS[page] if (page, block.language) not in ELSEWHERE]


@pytest.fixture
def stage(page: str, tmp_path: Path) -> Path:
    """The folder of a page's reader. A tutorial starts with nothing, an example with its files; other pages speak of
    modules that are there.
    """
    if page.startswith("examples/"):
        shutil.copytree((ROOT / page).parent, tmp_path, dirs_exist_ok=True)
    elif "tutorials" not in page:
        for name, text in STAGE.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        here = tmp_path / ".venv" / "bin"
        here.mkdir(parents=True)
        (here / "scheduler").symlink_to(Path(sys.executable).parent / "scheduler")
    return tmp_path


def quiet_port() -> str:
    """A free port that nobody else is given: below those of embedded servers and of outgoing connections."""
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return str(port)


@pytest.mark.parametrize("page", [page for page in BLOCKS if played(page)])
def test_the_page_does_what_it_says(
    page: str, stage: Path, environment: dict[str, str], sql: psycopg.Connection[Any]
) -> None:
    variables = environment | SETTINGS.get(page, {})
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    variables["PYTHONPATH"] = str(stage)
    text = (ROOT / page).read_text(encoding="utf-8")
    replaced = {"0.0.0.0": "127.0.0.1"} | {port: quiet_port() for port in PORTS if port in text}
    with receiving() as receiver, Player(stage, variables, replaced=replaced) as player:
        if page == "docs/alarms.md":
            variables["SCHEDULER_WEBHOOK_URL"] = player.environment["SCHEDULER_WEBHOOK_URL"] = receiver.url
        replicas = Replicas(variables, "app.jobs", stage)
        try:
            if page in WITH_A_REPLICA:
                replicas.start()
                replicas.wait_for(sql, 1)
            if page == "docs/alarms.md":
                fail_once(sql, player)
            for block in played(page):
                if block.language == "sql":
                    sql.execute(block.text)  # type: ignore[arg-type]
                else:
                    player.play(block)
        finally:
            replicas.stop()


def fail_once(sql: psycopg.Connection[Any], player: Player) -> None:
    """Have an alarm for the page about alarms."""
    player.play(Block("the stage", 0, "sh", "scheduler jobs trigger daily_report"))
    eventually(
        lambda: sql.execute("SELECT 1 FROM scheduler_audit.alarms WHERE closed_at IS NULL").fetchone(), what="an alarm"
    )


def test_every_block_is_carried_out_or_says_why_not() -> None:
    blocks = [block for found in BLOCKS.values() for block in found]
    assert [block.place for block in blocks if block.language not in LANGUAGES] == [], (
        "an indented block, or one without a language: use a fence that names one of " + ", ".join(sorted(LANGUAGES))
    )
    idle = [block for block in blocks if "not run" in block.notes]
    assert [block.place for block in idle if len(block.notes["not run"].split()) < 4] == [], "say why"
    assert len(idle) <= MOST_NOT_RUN, [block.place for block in idle]


def test_what_is_tested_elsewhere_is_there() -> None:
    for (page, language), where in ELSEWHERE.items():
        assert any(block.language == language for block in BLOCKS[page]), page
        assert Path(page).name in (ROOT / where).read_text(encoding="utf-8")


def test_the_service_of_the_tutorial_is_the_example() -> None:
    shown = next(b for b in BLOCKS["docs/tutorials/fastapi.md"] if b.notes.get("file") == "main.py")
    assert (ROOT / "examples" / "fastapi_service" / "main.py").read_text(encoding="utf-8") == shown.text


@pytest.mark.parametrize(
    "block",
    [
        Block("p", 1, "sh", "false\ntrue\n"),
        Block("p", 1, "sh", "scheduler jobs show nothing\n"),
        Block("p", 1, "sh", "true\n", {"exits": "1"}),
        Block("p", 1, "sh", "echo up; exit 1\n", {"stays": "ready"}),
        Block("p", 1, "text", "it works\n", {"prints": ""}),
        Block("p", 1, "python", "raise ValueError\n"),
        Block("p", 1, "toml", "lease_tll = 3\n"),
        Block("p", 1, "toml", "[jobs.a]\nevery = 1\n"),
        Block("p", 1, "json", "{'a': 1}\n"),
    ],
    ids=lambda block: f"{block.language} {block.text.strip()}",
)
def test_a_block_that_fails_is_seen(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    with Player(tmp_path, environment) as player, pytest.raises((AssertionError, ValueError)):
        player.play(block)
