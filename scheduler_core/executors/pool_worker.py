"""A process of the pool: `python -m scheduler_core.executors.pool_worker FD`, started by `process` alone."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from typing import Any

from scheduler_core.cli.signals import StopSignals, end_cancelled, limit_the_end
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.engine.remote.worker import Worker
from scheduler_core.executors.messages import MAX_MESSAGE_BYTES, read_ticket, send, tell_told
from scheduler_core.executors.service import open_service
from scheduler_core.runtime.event_loops import run_to_its_end
from scheduler_core.runtime.task_ends import end_tasks
from scheduler_core.settings import Settings

logger = logging.getLogger("scheduler_core")


async def serve(line: socket.socket) -> None:
    """Take tickets from the line until it is closed, then end what was begun and leave."""
    # Ctrl-C, and the end of the terminal, reach the whole group: the replica says when to leave, by hanging up.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    reader, writer = await asyncio.open_connection(sock=line, limit=MAX_MESSAGE_BYTES)
    greeting = await reader.readline()
    if not greeting:
        return  # the leader is gone already
    hello = json.loads(greeting)
    sys.path[:] = hello["path"]
    settings = Settings(**hello["settings"])
    try:
        service = open_service(settings, max_concurrent_runs=1)
        service.worker.allow(hello["callbacks"])
        await service.worker.start()
    except SchedulerError as error:
        send(writer, {"error": str(error)})
        await writer.drain()
        return
    send(writer, {"instance_id": service.worker.instance.instance_id})
    hung_up = asyncio.Event()
    StopSignals(hung_up.set, tell=logger.warning, signals=[signal.SIGTERM])
    listening = asyncio.create_task(_listen(reader, writer, service.worker), name="line")
    waiting = asyncio.create_task(hung_up.wait(), name="signal")
    try:
        await asyncio.wait({listening, waiting}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        end_cancelled(logger.error)
    finally:
        await end_tasks(listening, waiting)
        await service.worker.stop(settings.drain_timeout)
        await service.container.close()
        writer.close()


async def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, worker: Worker) -> None:
    async with asyncio.TaskGroup() as answers:
        while line := await reader.readline():
            message = json.loads(line)
            if "callbacks" in message:
                worker.allow(message["callbacks"])
            else:
                answers.create_task(_answer(message, writer, worker))
        # Hung up: whoever led is gone or stops. What was begun ends in the worker's own time.
        raise asyncio.CancelledError


async def _answer(message: dict[str, Any], writer: asyncio.StreamWriter, worker: Worker) -> None:
    ticket = read_ticket(message)
    told = await asyncio.shield(worker.execute(ticket))
    if not writer.is_closing():
        send(writer, tell_told(ticket, told))


def main() -> None:
    """Serve the line whose file descriptor is the only argument."""
    line = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(line.fileno(), False)
    with asyncio.Runner() as runner:
        run_to_its_end(runner, serve(line), logger)
        limit_the_end(logger.error)
    # A thread that nobody could stop must not keep a process that has no leader.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
