"""What a Dask worker does with a ticket. One worker of ours lives in each of Dask's processes, in its own thread."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from typing import Any
from uuid import UUID

from scheduler_core.cli.signals import end_cancelled
from scheduler_core.domain.runs.ticket import Ticket
from scheduler_core.runtime.loop_thread import LoopThread

logger = logging.getLogger("scheduler_core")

MOST_THREADS = 1_000
"""Dask's own threads are the bound of what is called at once: this one must not be a lower one."""


def execute_ticket(run_id: str, attempt: int, term: int) -> dict[str, Any]:
    """Take the attempt, make it, record it; returns what became of it. Called in one of Dask's threads."""
    from scheduler_core.executors.messages import tell_told

    ticket = Ticket(UUID(run_id), attempt, term)
    return tell_told(ticket, _host().execute(ticket))


class _Host:
    """The worker of this process, and the thread with its event loop."""

    def __init__(self) -> None:
        self._ends = asyncio.Event()
        self._thread = LoopThread(self._live, name="scheduler-worker", logger=logger, ended=_ended)
        self._thread.start()
        self._service = self._thread.submit(self._open()).result()
        atexit.register(self.close)

    async def _live(self) -> None:
        try:
            await self._ends.wait()
        except asyncio.CancelledError:
            # Nobody but a callback does this. Dask starts a process anew that has died, and not one that hears no more.
            end_cancelled(logger.error)

    async def _open(self) -> Any:
        from scheduler_core.executors.service import open_service
        from scheduler_core.settings import load_settings

        service = open_service(load_settings(), max_concurrent_runs=MOST_THREADS)
        await service.worker.start()
        return service

    def execute(self, ticket: Ticket) -> Any:
        return self._thread.submit(self._service.worker.execute(ticket)).result()

    def close(self) -> None:
        """At the end of the process: what is under way is cut off, recorded as such, and goes back."""
        closing = self._thread.submit(self._close())
        try:
            closing.result(timeout=10.0)
        finally:
            self._thread.post(self._ends.set)

    async def _close(self) -> None:
        await self._service.worker.stop(0.0)
        await self._service.container.close()


def _ended(error: BaseException | None) -> None:
    if error is not None:
        logger.error("the worker's thread ended: %r", error)


_making = threading.Lock()
_made: _Host | None = None


def _host() -> _Host:
    global _made  # noqa: PLW0603 - one per process, whichever of Dask's threads comes first
    with _making:
        if _made is None:
            _made = _Host()
        return _made
