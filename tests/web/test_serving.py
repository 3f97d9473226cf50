"""Serving for real: processes, sockets, slow clients; what is wrong is said in one line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from commands import Command
from waiting import eventually

from scheduler_core.runtime.child_processes import die_with_parent

Sql = psycopg.Connection[Any]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def process(environment: Mapping[str, str], folder: Path, *words: str, **settings: str) -> Iterator[Any]:
    """A `scheduler WORDS…` that runs until the block ends; its log is `folder/log`."""
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "scheduler_core.cli", *words],
            env={**environment, **{f"SCHEDULER_{name.upper()}": value for name, value in settings.items()}},
            stdout=log,
            stderr=log,
            cwd=folder,
            preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(5)


def answers(url: str, **headers: str) -> Any:
    try:
        return httpx.get(f"{url}/api/v1/jobs", headers=headers, timeout=5)
    except httpx.TransportError:
        return None


def served_url(folder: Path) -> str | None:
    found = re.search(r"serving (http://\S+?)[;\s]", (folder / "log").read_text())
    return found and found.group(1)


@pytest.fixture
def token(command: Command) -> str:
    made: str = json.loads(command("tokens", "create", "me", "--scope", "admin", "--json").stdout)["token"]
    return made


def test_scheduler_web_serves_without_being_a_replica(
    environment: dict[str, str], tmp_path: Path, token: str, sql: Sql
) -> None:
    with process(environment, tmp_path, "web", "--port", "0") as running:
        url = eventually(lambda: served_url(tmp_path), what="the line that says where")
        assert eventually(lambda: answers(url)).status_code == 401
        assert answers(url, authorization=f"Bearer {token}").json() == {"items": [], "next_cursor": None}
        assert sql.execute("SELECT count(*) FROM scheduler.instances").fetchone() == (0,)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_a_replica_serves_beside_its_work(environment: dict[str, str], tmp_path: Path, token: str) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    with process(environment, tmp_path, "run", "--app", "apps.ticking", api_port=str(port)) as running:
        answer = eventually(lambda: answers(url, authorization=f"Bearer {token}"))
        assert answer.status_code == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_a_port_that_is_taken_stops_no_replica(
    environment: dict[str, str], tmp_path: Path, token: str, sql: Sql
) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    also_taken = socket.create_server(("127.0.0.1", 0))
    port, of_metrics = taken.getsockname()[1], also_taken.getsockname()[1]
    ports = {"api_port": str(port), "metrics_port": str(of_metrics)}
    with taken, also_taken, process(environment, tmp_path, "run", "--app", "apps.ticking", **ports):
        for name, number in ports.items():
            told = f"{name} {number} (Address already in use"
            eventually(lambda told=told: told in (tmp_path / "log").read_text(), what=told)
        ran = "SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'"
        eventually(lambda: sql.execute(ran).fetchone() != (0,))
        taken.close()
        answer = eventually(lambda: answers(f"http://127.0.0.1:{port}", authorization=f"Bearer {token}"))
        assert answer.status_code == 200


def test_dev_serves_with_a_token_of_its_own(environment: dict[str, str], tmp_path: Path, sql: Sql) -> None:
    handle = tmp_path / "data" / "dev.json"
    with process(environment, tmp_path, "dev", "--replicas", "1", "--data-dir", str(tmp_path / "data")) as running:
        found = json.loads(eventually(lambda: handle.exists() and handle.read_text()))
        bearer = {"authorization": f"Bearer {found['api_token']}"}
        answer = eventually(lambda: answers(found["api_url"], **bearer))
        assert "heartbeat" in {job["job_id"] for job in answer.json()["items"]}
        told = (tmp_path / "log").read_text()
        assert told.count(found["api_token"]) == 1
        assert found["api_url"] in told
        (serving,) = web_processes(running.pid)
        os.kill(serving, signal.SIGKILL)
        eventually(lambda: web_processes(running.pid) not in ([], [serving]))
        assert answers(found["api_url"], **bearer).status_code == 200
    assert sql.execute("SELECT count(*) FROM scheduler.api_tokens WHERE revoked_at IS NULL").fetchone() == (0,)
    assert not handle.exists()


def web_processes(parent: int) -> list[int]:
    """The children of a process that only serve."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"\0web\0" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_scheduler_web_says_what_is_wrong(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in command("web", "--port", str(taken.getsockname()[1]), code=2).stderr
    assert "api_host" in command("web", "--host", "no.such.host.invalid", "--port", "0", code=2).stderr
    assert "--fd" in command("web", "--fd", "77", code=2).stderr
    assert "scheduler migrate" in command("web", "--port", "0", code=1, schema="not_there").stderr


def test_tokens_are_made_listed_and_revoked(command: Command) -> None:
    made = json.loads(command("tokens", "create", "ci", "--json").stdout)
    assert (made["name"], made["scope"]) == ("ci", "viewer")
    assert made["expires_at"] is not None
    assert "revoke" in command("tokens", "create", "ci", code=1).stderr
    shown = command("tokens", "create", "people", "--scope", "operator", "--forever").stdout
    assert "until it is revoked" in shown
    listed = command("tokens", "list", "--json").stdout
    assert made["token"] not in listed
    assert {row["name"] for row in json.loads(listed)} == {"ci", "people"}
    command("tokens", "revoke", "ci")
    command("tokens", "revoke", "ci", code=1)
    command("tokens", "create", "ci")
    assert len(json.loads(command("tokens", "list", "--all", "--json").stdout)) == 3
    assert "days" in command("tokens", "create", "x", "--days", "0", code=2).stderr
    assert "days" in command("tokens", "create", "x", "--days", "nan", code=2).stderr
    assert "name" in command("tokens", "create", " x", code=2).stderr
    command("tokens", "create", "x", "--scope", "root", code=2)
