"""The command line as tests call it: a real process for each command, without a second's imports for each.

The processes are forked from one that has imported the command line already (multiprocessing's fork server, one for
each worker of pytest): a second of a core for each, of which there are hundreds. Tests of the console script itself,
and of how a process starts, start their own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scheduler_core.runtime.child_processes import die_with_parent

Command = Callable[..., subprocess.CompletedProcess[str]]

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    ["scheduler_core.cli.app", "scheduler_core.container", "scheduler_core.storage.postgres.migrate", "asyncpg"]
)


def scheduler(
    *words: str, environment: Mapping[str, str], folder: Path, given: bytes = b"", within_seconds: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """`scheduler WORDS…` with this environment, in this folder, and `given` to read."""
    with tempfile.TemporaryDirectory(prefix="scheduler-command-") as place:
        streams = [Path(place, name) for name in ("given", "said", "complained")]
        streams[0].write_bytes(given)
        process = _forking.Process(target=_play, args=(words, dict(environment), str(folder), streams), daemon=True)
        process.start()
        try:
            process.join(within_seconds)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(words, within_seconds, *(s.read_bytes() for s in streams[1:]))
            return subprocess.CompletedProcess(words, process.exitcode, *(s.read_bytes() for s in streams[1:]))
        finally:
            process.kill()
            process.join(5)
            process.close()


class Started:
    """`scheduler WORDS…`, going on beside the test: a process with the verbs of `subprocess.Popen`.

    Parameters: environment, all of it; folder, where it works; log, what it says, on both streams.
    """

    def __init__(self, *words: str, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self._words = words
        streams = [Path(os.devnull), log, log]
        self._process = _forking.Process(
            target=_play, args=(words, dict(environment), str(folder), streams), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """How it ended; None if it has not."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises TimeoutExpired if it has not, after `timeout` seconds."""
        self._process.join(timeout)
        if (ended := self.returncode) is None:
            raise subprocess.TimeoutExpired(self._words, timeout or 0.0)
        return ended

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_anew(*words: str, environment: Mapping[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """The same in an interpreter of its own."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "scheduler_core.cli", *words],
            env=dict(environment),
            stderr=file,
            stdout=file,
            cwd=folder,
            preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
        )


Running = Started | subprocess.Popen[bytes]


def as_text(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[str]:
    """The same, decoded."""
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def _play(words: tuple[str, ...], environment: dict[str, str], folder: str, streams: list[Path]) -> None:
    """In the forked process: be `python -m scheduler_core.cli WORDS…`."""
    die_with_parent(os.getppid())()
    # It may have children of its own, as a process that nobody forked may: a cluster's workers.
    multiprocessing.current_process().daemon = False
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()  # a process that is started anew reads TZ by itself
    sys.path[:] = ["", *environment.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    sys.argv[:] = ["scheduler", *words]
    flags: list[Any] = [os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2]
    for number, (stream, how) in enumerate(zip(streams, flags, strict=True)):
        os.dup2(os.open(stream, how, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode) for n, mode in enumerate(("r", "w", "w")))  # noqa: SIM115 - theirs to the end
    from scheduler_core.cli import main

    main()
