"""What the integration tests share: a started scheduler that leads, and the command line as a user calls it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import commands
import pytest
from commands import Command
from waiting import eventually_async

from scheduler_core import Container
from scheduler_core.engine.scheduler import BaseScheduler


@pytest.fixture
async def scheduler(container: Container) -> BaseScheduler:
    started = await container.start()
    await eventually_async(lambda: started.is_leader, what="leading")
    return started


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Command:
    """`scheduler WORDS…`, in a folder of its own; fails unless it ends with `code`, and on any traceback.

    Other keywords are settings, `given` is what it reads.
    """

    def run(*words: str, code: int = 0, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        variables = environment | {f"SCHEDULER_{name.upper()}": value for name, value in settings.items()}
        done = commands.as_text(
            commands.scheduler(*words, environment=variables, folder=tmp_path, given=given.encode())
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run
