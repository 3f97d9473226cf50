"""The executor `process`: a pool of processes beside the leader, for callbacks that keep a core busy.

A process that is killed, or that its callback kills, costs one failed attempt and is started anew. Processes of a
leader that dies end what they have begun, record it, and leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import Any
from uuid import UUID

from scheduler_core.domain.errors import ExecutorError, WorkerDiedError
from scheduler_core.domain.runs.ticket import Ticket, Told
from scheduler_core.executors.messages import MAX_MESSAGE_BYTES, read_told, send, tell_ticket
from scheduler_core.ports.executor import ExecutorContext
from scheduler_core.runtime.child_processes import end_with_us
from scheduler_core.runtime.task_ends import end_tasks

TICKETS_PER_PROCESS = 4
"""One is being called; the others are there when it has ended. More would wait while another process is idle."""

START_TIMEOUT_SECONDS = 60.0

LEAVE_TIMEOUT_SECONDS = 15.0
"""How long a process may take to leave beyond `drain_timeout`, within which it cuts off what does not end."""


class ProcessExecutor:
    """A pool of processes beside the leader that make attempts.

    Parameters: context, whose settings `process_workers` says how many processes there are.
    """

    def __init__(self, context: ExecutorContext) -> None:
        count: int = context.settings.get("process_workers") or os.cpu_count() or 1
        self._places = [_Place(context, f"{context.instance_name}/process-{n + 1}") for n in range(count)]
        self._room = asyncio.Semaphore(count * TICKETS_PER_PROCESS)
        self._leave_timeout_seconds = float(context.settings["drain_timeout"]) + LEAVE_TIMEOUT_SECONDS

    async def start(self) -> None:
        """Have the processes ready. Raises ExecutorError if one can't be started."""
        await asyncio.gather(*(place.process() for place in self._places))

    async def execute(self, ticket: Ticket) -> Told | None:
        """Give the ticket to the process that has the fewest. Raises WorkerDiedError, ExecutorError."""
        async with self._room:
            place = min(self._places, key=lambda place: place.tickets)
            place.tickets += 1
            try:
                return await (await place.process()).execute(ticket)
            finally:
                place.tickets -= 1

    async def stop(self) -> None:
        """Hang up, and wait until every process has ended its work and left."""
        await asyncio.gather(*(place.stop(self._leave_timeout_seconds) for place in self._places))


class _Place:
    """One of the pool's places: the process that has it, and the next one once that has died."""

    def __init__(self, context: ExecutorContext, name: str) -> None:
        self.tickets = 0
        self._context = context
        self._name = name
        self._process: _Process | None = None
        self._starting = asyncio.Lock()
        self._is_stopped = False

    async def process(self) -> _Process:
        async with self._starting:
            if self._is_stopped:
                raise ExecutorError("the pool of processes has been stopped")
            if self._process is None or self._process.is_dead:
                self._process = await _Process.start(self._context, self._name)
            return self._process

    async def stop(self, timeout_seconds: float) -> None:
        async with self._starting:
            self._is_stopped = True
            if self._process is not None and not self._process.is_dead:
                await self._process.leave(timeout_seconds)


class _Process:
    """A process of the pool, and the line to it. Made by `start`."""

    def __init__(
        self, context: ExecutorContext, child: asyncio.subprocess.Process, reader: Any, writer: asyncio.StreamWriter
    ) -> None:
        self._context = context
        self._child = child
        self._reader: asyncio.StreamReader = reader
        self._writer = writer
        self._instance_id: str | None = None
        self._waiting: dict[UUID, asyncio.Future[Told | None]] = {}
        self._callbacks: tuple[str, ...] = ()
        self._listening: asyncio.Task[None] | None = None

    @property
    def is_dead(self) -> bool:
        return self._listening is None or self._listening.done()

    @classmethod
    async def start(cls, context: ExecutorContext, name: str) -> _Process:
        """Start a process and wait until it takes tickets. Raises ExecutorError."""
        async with contextlib.AsyncExitStack() as undo:
            try:
                child, reader, writer = await cls._launch(undo)
            except OSError as error:
                raise ExecutorError(f"a process of the pool can't be started: {error}") from error
            process = cls(context, child, reader, writer)
            settings = {**context.settings, "instance_name": name}
            process._callbacks = context.abilities().callbacks
            send(writer, {"settings": settings, "path": sys.path, "callbacks": process._callbacks})
            try:
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    line = await reader.readline()
            except TimeoutError:
                child.kill()
                line = b""
            told = json.loads(line) if line else {"error": f"it ended ({await child.wait()}) before it was ready"}
            if "error" in told:
                raise ExecutorError(f"a process of the pool can't start: {told['error']}")
            process._instance_id = told["instance_id"]
            process._listening = asyncio.create_task(process._listen(), name=f"line to {process._instance_id}")
            undo.pop_all()
        return process

    @staticmethod
    async def _launch(
        undo: contextlib.AsyncExitStack,
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.StreamWriter]:
        """The process and the line to it; `undo` ends both, whatever happens before it takes tickets."""
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        with theirs:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "scheduler_core.executors.pool_worker",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
            )
        end_with_us(child)
        undo.push_async_callback(_end, child)
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
        undo.callback(writer.close)
        return child, reader, writer

    async def execute(self, ticket: Ticket) -> Told | None:
        callbacks = self._context.abilities().callbacks
        if callbacks != self._callbacks:
            self._callbacks = callbacks
            send(self._writer, {"callbacks": callbacks})
        answer: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        self._waiting[ticket.run_id] = answer
        try:
            if self.is_dead:
                raise self._died()
            send(self._writer, tell_ticket(ticket))
            return await answer
        finally:
            self._waiting.pop(ticket.run_id, None)

    async def _listen(self) -> None:
        """Hand on what the process tells, until it is gone."""
        try:
            while line := await self._reader.readline():
                run_id, told = read_told(json.loads(line))
                answer = self._waiting.get(run_id)
                if answer is not None and not answer.done():
                    answer.set_result(told)
        except OSError:
            pass  # as if it had hung up
        await self._child.wait()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._died())

    def _died(self) -> WorkerDiedError:
        code = self._child.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return WorkerDiedError(
            f"the process that made this attempt died ({how}, pid {self._child.pid})", self._instance_id
        )

    async def leave(self, timeout_seconds: float) -> None:
        """Hang up: it ends what it has begun and leaves. One that does not in time is killed, and recovered from."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._child.wait(), timeout_seconds)
        except TimeoutError:
            self._context.logger.warning("the process %d does not leave and is killed", self._child.pid)
            self._child.kill()
        if self._listening is not None:
            await end_tasks(self._listening)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
    await child.wait()
