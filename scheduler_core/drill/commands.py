"""Commands from the drill to whichever replica runs a job: a file that one callback claims, and its answer.

A file is claimed by renaming it, so exactly one attempt obeys it, also where the attempt kills its process and the
run is delivered again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """Who obeyed, and when: the machine's wall clock in nanoseconds, read immediately before obeying."""

    pid: int
    wall_ns: int
    child_pid: int | None = None


@dataclass(slots=True)
class Commands:
    """The folder of commands."""

    folder: Path

    # The drill's side.

    def give(self, name: str, argument: str = "") -> None:
        """Ask for something; what was answered before is forgotten."""
        self._answer(name).unlink(missing_ok=True)
        fresh = self.folder / f".{name}.new"
        fresh.write_text(argument, encoding="ascii")
        fresh.replace(self.folder / name)

    def withdraw(self, name: str) -> None:
        """Ask no more, if nobody has obeyed yet."""
        (self.folder / name).unlink(missing_ok=True)

    def answer(self, name: str) -> Answer | None:
        """Who obeyed; None as long as nobody has."""
        try:
            parts = [int(part) for part in self._answer(name).read_text(encoding="ascii").split()]
        except FileNotFoundError:
            return None
        return Answer(parts[0], parts[1], parts[2] if len(parts) > 2 else None)

    # The callbacks' side.

    def claim(self, name: str) -> str | None:
        """The command's argument if it was given and nobody was faster."""
        claimed = self.folder / f".{name}.{os.getpid()}"
        try:
            (self.folder / name).rename(claimed)
        except FileNotFoundError:
            return None
        return claimed.read_text(encoding="ascii")

    def obey(self, name: str, answer: Answer) -> None:
        """Write down who obeys: whole or not at all."""
        fresh = self.folder / f".{name}.answer.{os.getpid()}"
        words = [answer.pid, answer.wall_ns, *([] if answer.child_pid is None else [answer.child_pid])]
        fresh.write_text(" ".join(map(str, words)), encoding="ascii")
        fresh.replace(self._answer(name))

    def is_given(self, name: str) -> bool:
        """Whether the file is there: for commands that are watched and not claimed."""
        return (self.folder / name).exists()

    def _answer(self, name: str) -> Path:
        return self.folder / f"{name}.answer"
