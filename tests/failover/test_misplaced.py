"""Verbs that are called in the wrong event loop, thread or process: each says what is wrong, and what to do."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apps.misplaced import VERBS

from scheduler_core import SchedulerService

NO_LOOP_NEEDED = {"init", "is_initialized", "get_scheduler", "get_job_status", "get_all_jobs_status"}


def play(how: str, environment: dict[str, str], folder: Path) -> dict[str, Any]:
    """One of the programs, in a process of its own; what it says at last."""
    done = subprocess.run(
        [sys.executable, "-m", "apps.misplaced", how],
        check=False,
        env=environment | {"SCHEDULER_LEASE_TTL": "1", "SCHEDULER_DRAIN_TIMEOUT": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "coro=<BaseScheduler" not in done.stderr, "a task of the scheduler's was left to the collector"
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


def test_every_verb_is_tried() -> None:
    public = {name for name, value in vars(SchedulerService).items() if not name.startswith("_")}
    assert set(VERBS) == public - NO_LOOP_NEEDED
    assert all(not inspect.iscoroutinefunction(getattr(SchedulerService, name)) for name in NO_LOOP_NEEDED)


@pytest.mark.parametrize(
    ("mistake", "right_here", "wrong", "remedy"),
    [
        ("in_another_thread", set(), "another event loop, that of the thread 'MainThread'", "run_coroutine_threadsafe"),
        ("after_the_loop", {"stop", "shutdown"}, "an event loop that has been closed", "one asyncio.run(main())"),
        ("in_a_fork", {"shutdown"}, "was forked from it", "after the fork: SchedulerService.init()"),
        ("before_the_fork", {"shutdown"}, "was forked from it", "after the fork: SchedulerService.init()"),
    ],
)
def test_a_verb_where_the_scheduler_is_not_says_where_it_is_and_what_to_do(
    mistake: str, right_here: set[str], wrong: str, remedy: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Postgres is reached, it is running, and database_url is right."""
    document = play(mistake, environment, tmp_path)
    told = document["told"]
    assert set(told) == set(VERBS) - right_here
    for verb, (kind, message) in told.items():
        assert kind == "WrongLoopError", (verb, message)
        assert wrong in message, message
        assert remedy in message, message
        assert "Postgres" not in message
    named = {verb: message for verb, (_, message) in told.items()}
    assert all(message.startswith(f"{'add_job' if verb == 'add_jobs' else verb}: ") for verb, message in named.items())


def test_a_mistake_changes_nothing_and_the_remedy_works(environment: dict[str, str], tmp_path: Path) -> None:
    after = play("in_another_thread", environment, tmp_path)["after"]
    assert after == {"is_running": True, "stored": ["handed", "j"]}
    assert play("after_the_loop", environment, tmp_path)["after"]["stored"] == ["handed", "j"]


def test_a_child_is_a_replica_of_its_own_and_leaves_its_parent_alone(
    environment: dict[str, str], tmp_path: Path
) -> None:
    document = play("in_a_fork", environment, tmp_path)
    assert document["was_initialized"] is False
    parent, (child, *stored) = document["after"], document["own"]
    assert stored == ["j", "of-the-child"]
    assert parent["stored"] == stored
    assert (parent["is_running"], parent["leads"]) == (True, True)
    assert parent["id"] != child


@pytest.mark.parametrize("how", ["after_a_stop", "wired_before_the_fork"])
def test_what_is_no_mistake_works(how: str, environment: dict[str, str], tmp_path: Path) -> None:
    assert play(how, environment, tmp_path)["after"] == {"stored": ["j"]}


def test_a_lock_service_of_another_loop_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    ((kind, message),) = play("lock_elsewhere", environment, tmp_path)["told"].values()
    assert kind == "WrongLoopError"
    assert "a client of this event loop's own" in message
    assert "is it running" not in message
