"""What a Dask worker does with a ticket. One worker of ours lives in each of Dask's processes, in its own thread."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from typing import Any
from uuid import UUID

from scheduler_core.cli.signals import end_cancelled
from scheduler_core.domain.ticket import Ticket
from scheduler_core.runtime.event_loops import run_for_ever

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
        self._loop = asyncio.new_event_loop()
        self._ends = threading.Event()
        self._thread = threading.Thread(
            target=run_for_ever,
            args=(self._loop, self._ends, logging.getLogger("scheduler_core")),
            name="scheduler-worker",
            daemon=True,
        )
        self._thread.start()
        self._service = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        atexit.register(self.close)

    async def _open(self) -> Any:
        from scheduler_core.executors.service import open_service
        from scheduler_core.settings import load_settings

        self._sentinel = asyncio.create_task(asyncio.Event().wait(), name="sentinel")
        self._sentinel.add_done_callback(self._cancelled)
        service = open_service(load_settings(), max_concurrent_runs=MOST_THREADS)
        await service.worker.start()
        return service

    def _cancelled(self, _sentinel: asyncio.Task[Any]) -> None:
        if not self._ends.is_set():
            # Nobody but a callback does this. Dask starts a process anew that has died, and not one that hears no more.
            end_cancelled(logging.getLogger("scheduler_core").error)

    def execute(self, ticket: Ticket) -> Any:
        return asyncio.run_coroutine_threadsafe(self._service.worker.execute(ticket), self._loop).result()

    def close(self) -> None:
        """At the end of the process: what is under way is cut off, recorded as such, and goes back."""
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        try:
            closing.result(timeout=10.0)
        finally:
            self._ends.set()
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close(self) -> None:
        await self._service.worker.stop(0.0)
        await self._service.container.close()


_making = threading.Lock()
_made: _Host | None = None


def _host() -> _Host:
    global _made  # noqa: PLW0603 - one per process, whichever of Dask's threads comes first
    with _making:
        if _made is None:
            _made = _Host()
        return _made
