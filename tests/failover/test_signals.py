"""Each signal at each kind of process: the first asks, the second ends at once, and the record stays whole."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM
from typing import Any

import httpx
import psycopg
import pytest
from commands import Command
from replicas import LEADER_PID, witnessed
from waiting import eventually

Sql = psycopg.Connection[Any]

AT_ONCE_SECONDS = 5.0
"""Against a drain timeout of a minute."""

TERM_ENDED = "SELECT end_reason FROM scheduler_audit.leadership WHERE ended_at IS NOT NULL ORDER BY term DESC"
STATUS = "SELECT status FROM scheduler_audit.runs WHERE job_id = %s"
SERVING = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'scheduler' AND datname = current_database()"
PATIENT = {"SCHEDULER_DRAIN_TIMEOUT": "60", "SCHEDULER_LEASE_TTL": "3", "EXECUTOR": "process"}


LASTING = {"run": ("run", "--app", "apps.lasting"), "dev": ("dev", "--app", "apps.lasting", "--replicas", "1")}


class Program:
    """A `scheduler` command in a process of its own, in a session of its own, with what it says."""

    def __init__(
        self, words: tuple[str, ...], environment: dict[str, str], folder: Path, ignored: tuple[int, ...]
    ) -> None:
        self.log = folder / "program.log"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scheduler_core.cli", *words],
                env=PATIENT | environment,
                cwd=folder,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored] and None,  # noqa: PLW1509
            )

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        if to_group:  # as a terminal does
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def children(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in found]


@contextmanager
def running(*words: str, environment: dict[str, str], folder: Path, ignored: tuple[int, ...] = ()) -> Iterator[Program]:
    program = Program(words, environment, folder, ignored)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            children = program.children()
            # First: it would start others in their place, which outlive the test.
            program.process.kill()
            program.process.wait(10)
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=5).is_success
    except httpx.TransportError:
        return False


def release(environment: dict[str, str]) -> None:
    Path(environment["WITNESS_FILE"] + ".release").touch()


def status(sql: Sql, job_id: str) -> str | None:
    row = sql.execute(STATUS, [job_id]).fetchone()
    return None if row is None else str(row[0])


def has_handed_over(sql: Sql) -> bool:
    return sql.execute(TERM_ENDED).fetchone() == ("stopped",)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for_the_run(sql: Sql, environment: dict[str, str]) -> None:
    eventually(lambda: witnessed(environment), what="the callback's call")
    eventually(lambda: status(sql, "lasting") == "running")


@pytest.mark.parametrize("first", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("command", ["run", "dev"])
def test_the_first_hands_over_and_lets_running_work_end(
    command: str, first: signal.Signals, environment: dict[str, str], tmp_path: Path, sql: Sql
) -> None:
    with running(*LASTING[command], environment=environment, folder=tmp_path) as program:
        wait_for_the_run(sql, environment)
        if command == "dev":
            eventually((tmp_path / ".scheduler" / "dev.json").exists)
        children = program.children()
        program.send(first, to_group=command == "dev")
        eventually(lambda: has_handed_over(sql), what="the hand-over")
        assert status(sql, "lasting") == "running"
        assert program.process.poll() is None
        release(environment)
        assert program.process.wait(30) == 0, program.log.read_text()
        assert status(sql, "lasting") == "succeeded"
        assert not [pid for pid in children if is_alive(pid)]
    assert not (tmp_path / ".scheduler" / "dev.json").exists()


@pytest.mark.parametrize(
    ("command", "first", "second"),
    [
        *(("run", first, second) for first in (SIGINT, SIGTERM) for second in (SIGINT, SIGTERM)),
        *(("dev", SIGINT, SIGTERM), ("dev", SIGTERM, SIGINT)),
    ],
)
def test_the_second_ends_at_once_and_leaves_the_run_to_recovery(
    command: str,
    first: signal.Signals,
    second: signal.Signals,
    environment: dict[str, str],
    tmp_path: Path,
    sql: Sql,
) -> None:
    with running(*LASTING[command], environment=environment, folder=tmp_path) as program:
        wait_for_the_run(sql, environment)
        if command == "dev":
            eventually((tmp_path / ".scheduler" / "dev.json").exists)
        children = program.children()
        program.send(first)
        eventually(lambda: has_handed_over(sql), what="the hand-over")
        program.send(second)
        assert program.process.wait(AT_ONCE_SECONDS) == 128 + second
        eventually(lambda: not [pid for pid in children if is_alive(pid)], within_seconds=AT_ONCE_SECONDS)
    said = program.log.read_text()
    assert f"again ({second.name}): ending at once; what was begun is left to recovery" in said, said
    assert "Traceback" not in said
    assert status(sql, "lasting") == "running", "nobody may say how it ended"
    assert not (tmp_path / ".scheduler" / "dev.json").exists()


@pytest.mark.parametrize("leaves", ["leaves_a_thread", "blocks", "takes_no_cancel"])
def test_what_a_callback_leaves_behind_keeps_no_process(
    leaves: str, environment: dict[str, str], tmp_path: Path, sql: Sql
) -> None:
    """Python waits without end for a thread, and for a task that takes no cancel."""
    settings = {"LEAVES": leaves, "SCHEDULER_DRAIN_TIMEOUT": "0.5"}
    with running("run", "--app", "apps.stubborn", environment=environment | settings, folder=tmp_path) as program:
        eventually(lambda: witnessed(environment), what="the callback's call")
        program.send(SIGTERM)
        assert program.process.wait(30) == 0
        assert has_handed_over(sql)
    said = program.log.read_text()
    assert "ending without the threads or tasks that callbacks have left behind" in said
    assert "Traceback" not in said


def test_the_second_ends_a_process_whose_loop_is_blocked(environment: dict[str, str], tmp_path: Path, sql: Sql) -> None:
    with running("run", "--app", "apps.wedged", environment=environment, folder=tmp_path) as program:
        eventually(lambda: witnessed(environment))
        program.send(SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(0.5)
        program.send(SIGINT)
        assert program.process.wait(AT_ONCE_SECONDS) == 128 + SIGINT


def test_a_terminal_that_is_closed_asks_twice_and_means_once(
    environment: dict[str, str], tmp_path: Path, sql: Sql
) -> None:
    """The kernel says so to the foreground, and the shell to its jobs; systemd's SendSIGHUP comes behind SIGTERM."""
    with running("run", "--app", "apps.lasting", environment=environment, folder=tmp_path) as program:
        wait_for_the_run(sql, environment)
        for number in (SIGHUP, SIGTERM, SIGHUP):
            program.send(number)
            eventually(lambda: has_handed_over(sql))
        assert program.process.poll() is None
        release(environment)
        assert program.process.wait(30) == 0
    assert status(sql, "lasting") == "succeeded"


def test_nohup_is_heeded(environment: dict[str, str], tmp_path: Path, sql: Sql) -> None:
    """Who starts a process with SIGHUP ignored wants it to outlive the terminal."""
    words = ("run", "--app", "apps.each_second")
    with running(*words, environment=environment, folder=tmp_path, ignored=(SIGHUP,)) as program:
        leader = eventually(lambda: sql.execute(LEADER_PID).fetchone())
        program.send(SIGHUP)
        count = "SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'"
        before = sql.execute(count).fetchone()
        eventually(lambda: sql.execute(count).fetchone() > before)  # type: ignore[operator]
        assert sql.execute(LEADER_PID).fetchone() == leader
        program.send(SIGTERM)
        assert program.process.wait(30) == 0


def worker_of(environment: dict[str, str], command: Command, sql: Sql) -> int:
    """Have the run that lasts made by a process of the pool; its pid."""
    eventually(lambda: sql.execute(LEADER_PID).fetchone())
    command("jobs", "trigger", "lasts")
    (line,) = eventually(lambda: [line for line in witnessed(environment) if line.startswith("lasts ")])
    eventually(lambda: status(sql, "lasts") == "running")
    return int(line.split()[2])


def test_a_process_of_the_pool_leaves_when_its_replica_says_so(
    environment: dict[str, str], tmp_path: Path, sql: Sql, command: Command
) -> None:
    """A terminal sends its signals to the whole group; SIGTERM is meant for the process that gets it."""
    with running("run", "--app", "apps.elsewhere", environment=environment, folder=tmp_path) as program:
        worker = worker_of(environment, command, sql)
        for number in (SIGINT, SIGHUP, SIGINT, SIGTERM):
            os.kill(worker, number)
        release(environment)
        eventually(lambda: status(sql, "lasts") == "succeeded", what="it ends its run first")
        assert sum(line.startswith("lasts ") for line in witnessed(environment)) == 1
        eventually(lambda: not is_alive(worker))
        assert program.process.poll() is None


def test_a_process_of_the_pool_that_is_asked_again_ends_at_once(
    environment: dict[str, str], tmp_path: Path, sql: Sql, command: Command
) -> None:
    with running("run", "--app", "apps.elsewhere", environment=environment, folder=tmp_path) as program:
        worker = worker_of(environment, command, sql)

        def is_gone() -> bool:
            if is_alive(worker):
                os.kill(worker, SIGTERM)
            return not is_alive(worker)

        eventually(is_gone, within_seconds=AT_ONCE_SECONDS)
        assert program.process.poll() is None


@pytest.mark.parametrize("to_group", [True, False])
def test_the_second_takes_the_pool_along(
    to_group: bool, environment: dict[str, str], tmp_path: Path, sql: Sql, command: Command
) -> None:
    with running("run", "--app", "apps.elsewhere", environment=environment, folder=tmp_path) as program:
        worker = worker_of(environment, command, sql)
        program.send(SIGINT, to_group=to_group)
        eventually(lambda: has_handed_over(sql), what="the hand-over")
        assert is_alive(worker)
        program.send(SIGINT, to_group=to_group)
        assert program.process.wait(AT_ONCE_SECONDS) == 128 + SIGINT
        eventually(lambda: not is_alive(worker), within_seconds=AT_ONCE_SECONDS)
    assert status(sql, "lasts") == "running"


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_the_api_alone_ends_well(number: signal.Signals, environment: dict[str, str], tmp_path: Path) -> None:
    """Once it answers: its sessions come and go, and whoever looks for one may miss them all."""
    with running("web", "--port", "0", environment=environment, folder=tmp_path) as program:
        served = eventually(lambda: re.search(r"serving (http\S+);", program.log.read_text()))
        eventually(lambda: is_live(served[1]))
        program.send(number)
        assert program.process.wait(30) == 0, program.log.read_text()
