"""What runs inside a peer's environment: standard library, and one peer's file.

`python -P inside.py PEER COMMAND …` loads PEER.py beside it under the name `peer_PEER` (so that `oban.py` does not hide
the package `oban`, and so that a job store can import the task again) and does one of these:

    install    the peer's tables in an empty database
    enqueue    store `count` no-op jobs; number i is due at `due` + i × `spacing`; prints {"stored", "seconds"}
    work       one of the peer's processes, until it is ended, or for `limit` seconds at most
    leader     prints {"pid"} of the process that schedules, where that need not be the one that fires, else 0
    wait       until the outcome of `count` jobs is durable by the peer's own record; prints {"done", "finished_at"}

A task that was told to appends the instant of its fire to a file of its process: key, due, started, pid.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.1
POLL_SHARE = 10
"""A look at the record may take a tenth of the time between two of them: looking must not be what is measured."""


@dataclass(frozen=True)
class Given:
    """The command line. Instants are seconds since 1970."""

    peer: str
    command: str
    database_url: str
    redis_url: str
    folder: str
    mode: str
    """throughput, lateness or takeover."""
    limit: float
    count: int = 0
    due: float = 0.0
    spacing: float = 0.0
    until: float = 0.0
    number: int = 0
    """Which of the peer's processes this is."""
    size: int = 0
    """The peer's one number, if it has one."""
    schedules: int = 0
    """takeover: so many, each due every `period` seconds, at multiples of it since 1970."""
    period: int = 1

    def instant(self, index: int) -> float:
        return self.due + index * self.spacing


class Fires:
    """One line per fire, appended at once. A forked child opens a file of its own."""

    def __init__(self) -> None:
        self.folder = Path()
        self._files: dict[int, int] = {}

    def write(self, key: int, due: float, pid: int | None = None) -> None:
        """due: 0 where the peer does not tell its task; pid: of the process that scheduled, if not this one."""
        now = time.time()
        own = os.getpid()
        file = self._files.get(own)
        if file is None:
            path = self.folder / f"fires-{own}.txt"
            file = self._files[own] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, f"{key} {due:.6f} {now:.6f} {pid or own}\n".encode())

    def count(self) -> int:
        """Lines so far, of all processes."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("fires-*.txt"))


fires = Fires()


def ready(given: Given) -> None:
    """Say that this process is about to take part."""
    (Path(given.folder) / f"ready-{os.getpid()}").touch()


def load(name: str) -> Any:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"peer_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def wait(given: Given, count: Callable[[], int]) -> dict[str, float]:
    """Look until `count` outcomes are there, or until the instant `until`."""
    while True:
        began = time.monotonic()
        done = count()
        finished_at = time.time()
        if done >= given.count or finished_at > given.until:
            return {"done": done, "finished_at": finished_at}
        time.sleep(max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - began)))


def parse(arguments: list[str]) -> Given:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("command", choices=["install", "enqueue", "work", "wait", "leader"])
    for field in fields(Given)[2:]:
        kind = {"str": str, "int": int, "float": float}[str(field.type)]
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    return Given(**vars(parser.parse_args(arguments)))


def end_group(*_: object) -> None:
    """At the limit: a worker's forked children go with it."""
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    sys.modules["inside"] = sys.modules["__main__"]
    given = parse(sys.argv[1:])
    fires.folder = Path(given.folder)
    signal.setitimer(signal.ITIMER_REAL, given.limit)
    peer = load(given.peer)
    if given.command == "work":
        signal.signal(signal.SIGALRM, end_group)
        peer.work(given)
        return
    if given.command == "wait":
        answer = wait(given, peer.counter(given))
    elif given.command == "leader":
        answer = {"pid": peer.leader(given) if hasattr(peer, "leader") else 0}
    else:
        began = time.monotonic()
        getattr(peer, given.command)(given)
        answer = {"stored": given.count, "seconds": round(time.monotonic() - began, 3)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
