"""A page is played as its reader would: files are written, commands typed, one block after the other, in one folder.

What a command exports, the next block finds. A `text` block with the note `prints` shows what the commands before it
print: its lines must be there, in this order, where `…` stands for anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import yaml
from commands import as_text, scheduler
from pages import Block
from waiting import eventually

from scheduler_core import load_jobs, load_settings
from scheduler_core.runtime.child_processes import die_with_parent

PLAIN = re.compile(r"(?:[A-Z_]+=\S+ )*scheduler [^|<>$&;`\\]*")
"""A line that needs no shell."""

LONGEST_SECONDS = 120


class Player:
    """Plays blocks in a folder, in this environment. `replaced` are words of a page that mean something else here."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        replaced: Mapping[str, str] | None = None,
        is_newcomer: bool = False,
    ) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.replaced = dict(replaced or {})
        self.is_newcomer = is_newcomer
        self.printed = ""
        self._kept = folder / ".exported"
        self._stay: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process, _ in self._stay:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process, output in self._stay:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
            output.close()

    def play(self, block: Block) -> None:
        """Carry out one block. Fails with the block's place and what was said."""
        if "not run" in block.notes or ("installs" in block.notes and not self.is_newcomer):
            return
        text = self._here(block.text)
        if "file" in block.notes:
            path = self.folder / block.notes["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        carry_out: dict[str, Callable[[Block, str], None]] = {
            "sh": self._commands,
            "python": self._python,
            "toml": self._toml,
            "json": lambda _, given: json.loads(given),
            "yaml": lambda _, given: yaml.safe_load(given),
            "text": self._shown,
        }
        carry_out[block.language](block, text)

    def _here(self, text: str) -> str:
        for word, instead in self.replaced.items():
            text = text.replace(word, instead)
        return text

    def _commands(self, block: Block, text: str) -> None:
        if "stays" in block.notes:
            self._start(block, text)
            return
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        if not self.is_newcomer and all(PLAIN.fullmatch(line.split("  #")[0].strip()) for line in lines):
            self.printed = ""
            codes = map(int, block.notes["exits"].split() if "exits" in block.notes else "0" * len(lines))
            for line, expected in zip(lines, codes, strict=True):
                self._forked(block, line, expected)
        else:
            done = self._shell(text)
            self.printed = done.stdout + done.stderr
            expected = int(block.notes.get("exits", "0").split()[-1])
            assert done.returncode == expected, f"{block.place}: exit code {done.returncode}\n{text}\n{self.printed}"

    def _forked(self, block: Block, line: str, expected: int) -> None:
        """One `scheduler …`, without a second's imports."""
        words = shlex.split(line, comments=True)
        variables = dict(word.split("=", 1) for word in words[: words.index("scheduler")])
        done = as_text(
            scheduler(
                *words[words.index("scheduler") + 1 :],
                environment=self.environment | variables,
                folder=self.folder,
                within_seconds=LONGEST_SECONDS,
            )
        )
        self.printed += done.stdout + done.stderr
        assert done.returncode == expected, f"{block.place}: exit code {done.returncode}\n{line}\n{self.printed}"

    def _script(self, text: str) -> str:
        venv = self.folder / ".venv" / "bin" / "activate"
        lines = [f". {self._kept}" if self._kept.exists() else "", f"[ ! -f {venv} ] || . {venv}", text]
        return "\n".join([*lines, f"export -p | grep -v '^declare -[a-z]*r' > {self._kept}"])

    def _shell(self, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-o", "allexport", "-c", self._script(text)],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS * (5 if self.is_newcomer else 1),
            check=False,
        )

    def _start(self, block: Block, text: str) -> None:
        said = self.folder / f".said-{len(self._stay)}"
        output = said.open("wb")
        process = subprocess.Popen(
            ["bash", "-c", self._script(text)],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
        )
        self._stay.append((process, output))

        def is_up() -> bool:
            words = said.read_text(errors="replace")
            assert process.poll() is None, f"{block.place}: ended with {process.returncode}\n{text}\n{words}"
            return self._here(block.notes["stays"]) in words

        eventually(is_up, within_seconds=60, what=f"{block.place} says {block.notes['stays']!r}; see {said}")

    def _python(self, block: Block, text: str) -> None:
        if "file" in block.notes:
            compile(text, block.place, "exec")
            return
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            env=self.environment | {"PYTHONPATH": str(self.folder)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        self.printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{block.place}\n{self.printed}"

    def _toml(self, block: Block, text: str) -> None:
        document = tomllib.loads(text)
        name = block.notes.get("file")
        if "jobs" in document:
            path = self.folder / (name or ".jobs.toml")
            path.write_text(text, encoding="utf-8")
            assert len(load_jobs(path)) == len(document["jobs"]), block.place
        elif "project" not in document:  # a pyproject.toml of the reader's
            assert load_settings(**document), block.place

    def _shown(self, block: Block, text: str) -> None:
        if "prints" not in block.notes:
            return
        shown = [re.escape(" ".join(line.split())) for line in text.splitlines() if line.strip()]
        wanted = re.sub(r"(?:\\ )?…(?:\\ )?", ".*", r".*\n(?:.*\n)*?.*".join(shown))
        printed = "\n".join(" ".join(line.split()) for line in self.printed.splitlines())
        assert re.search(wanted, printed), f"{block.place}: the page shows\n{text}\nbut there was\n{self.printed}"
