"""A process that simulates for whoever asks: beside the replica, where it slows down no fire, and warm.

It imports once and answers one question after the other. The first question starts it; it ends by itself when nobody
has asked for a while, when its pipe closes, and is killed with a question that takes too long.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_core.container import Container
from scheduler_core.runtime.child_processes import end_with_us

MOST_SECONDS = 60.0
"""Of one question."""

MOST_BYTES = 64 * 1024 * 1024
"""Of one answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command `scheduler simulate` came to."""

    code: int
    output: str
    errors: str


class Simulator:
    """One process for the questions of one application, one at a time. Usable in one event loop."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    @property
    def is_busy(self) -> bool:
        return self._asking.locked()

    async def ask(self, container: Container, words: Sequence[str]) -> Answer:
        """What `scheduler simulate WORDS…` says of the container's jobs.

        Raises TimeoutError after `MOST_SECONDS`, ConnectionError if the process ended without an answer.
        """
        async with self._asking:
            try:
                async with asyncio.timeout(MOST_SECONDS):
                    return await self._ask(container, words)
            except BaseException:
                # Whatever it is at, nobody waits for it any more: the next question meets a new one.
                await self.close()
                raise

    async def _ask(self, container: Container, words: Sequence[str]) -> Answer:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        settings = {"SCHEDULER_DATABASE_URL": container.database_url, "SCHEDULER_SCHEMA": container.settings.schema}
        process.stdin.write(json.dumps({"words": list(words), "environment": settings}).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise ConnectionError(f"the process that simulates ended ({await process.wait()}) without an answer")
        return Answer(**json.loads(line))

    @staticmethod
    async def _start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scheduler_core.cli.simulating"),
            env=os.environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MOST_BYTES,
        )
        end_with_us(process)
        return process

    async def close(self) -> None:
        """End the process, whatever it is at."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        # Its transports are the loop's until their pipes are read to the end.
        with contextlib.suppress(ConnectionError):
            await process.communicate()
