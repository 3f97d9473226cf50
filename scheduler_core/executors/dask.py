"""The executor `dask`: tickets go to a Dask cluster, as tasks that hold nothing else.

A task that Dask delivers twice finds its attempt taken. A Dask worker that dies is found by recovery, like any owner;
what Dask itself makes of its tasks meanwhile does no harm. The workers need what a replica needs: the service's code
and its settings (environment or `scheduler.toml`), `app` or `allowed_callbacks` among them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from uuid import uuid4

from scheduler_core.domain.errors import ExecutorError
from scheduler_core.domain.runs.ticket import Ticket, Told
from scheduler_core.executors.dask_worker import execute_ticket
from scheduler_core.executors.messages import read_told
from scheduler_core.ports.executor import ExecutorContext

CONNECT_TIMEOUT_SECONDS = 10.0


LOCAL_CLUSTER = "local"
"""The address that stands for a cluster of this replica's own, which ends with it: for development."""

LOCAL_THREADS = 16
"""Of each process of such a cluster."""


class DaskExecutor:
    """See the module. Parameters: context, whose settings `dask_address` says where the cluster's scheduler is."""

    def __init__(self, context: ExecutorContext) -> None:
        address = context.settings.get("dask_address")
        if not address:
            raise ExecutorError(
                "dask_address is not set: set it to the cluster's scheduler, as tcp://host:8786, or to "
                f"{LOCAL_CLUSTER!r} for development"
            )
        self._address = str(address)
        self._settings = context.settings
        self._logger = context.logger
        self._cluster: Any = None
        self._client: Any = None
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises ExecutorError."""
        await self._connected()

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is not None and self._client.status != "running":
                await self._close()
            if self._client is None:
                try:
                    # Importing it takes a second, in which nothing else would move.
                    distributed = await asyncio.to_thread(_import_distributed)
                    if self._address == LOCAL_CLUSTER:
                        self._cluster = await self._open_cluster(distributed)
                    self._client = await distributed.Client(
                        self._cluster or self._address,
                        asynchronous=True,
                        timeout=CONNECT_TIMEOUT_SECONDS,
                        set_as_default=False,
                    )
                except (OSError, ValueError, TimeoutError) as error:
                    raise ExecutorError(
                        f"the Dask scheduler can't be reached ({type(error).__name__}): is it running, is dask_address "
                        "right?"
                    ) from error
            return self._client

    async def _open_cluster(self, distributed: Any) -> Any:
        """A cluster of processes on this machine; they read our settings in their environment."""
        # Being imported, it has set its own loggers to tell of every connection.
        logging.getLogger("distributed").setLevel(logging.WARNING)
        return await distributed.LocalCluster(
            n_workers=self._settings.get("process_workers") or 1,
            threads_per_worker=LOCAL_THREADS,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            asynchronous=True,
            env={f"SCHEDULER_{name.upper()}": in_environment(value) for name, value in self._settings.items()},
        )

    async def execute(self, ticket: Ticket) -> Told | None:
        """Submit the ticket and wait. Raises ExecutorError if the cluster gives up."""
        client = await self._connected()
        # Each delivery is a task of its own: the answer to an earlier one is not this one's.
        future = client.submit(
            execute_ticket,
            str(ticket.run_id),
            ticket.attempt,
            ticket.term,
            key=f"scheduler-{ticket.run_id}-{ticket.attempt}-{uuid4().hex[:8]}",
            pure=False,
        )
        try:
            return read_told(await future)[1]
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # Nobody waits for it any more. Not released before it has begun: Dask would forget it.
                _keep_until_done(future)
                raise
            # Dask's own word for a task that it lost.
            raise ExecutorError(
                "the Dask cluster lost the task: its scheduler was restarted, or the client cut off"
            ) from None
        except Exception as error:
            raise ExecutorError(
                f"the Dask cluster could not execute the ticket: {type(error).__name__}: {error}"
            ) from error

    async def stop(self) -> None:
        """Disconnect. What workers have begun they end by themselves; what they have not is adopted by who leads."""
        async with self._connecting:
            await self._close()

    async def _close(self) -> None:
        parts = [part for part in (self._client, self._cluster) if part is not None]
        self._client = self._cluster = None
        for part in parts:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    await part.close()
            except (OSError, TimeoutError) as error:
                self._logger.warning("a part of Dask did not close in time: %s", type(error).__name__)


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ExecutorError("the executor 'dask' needs the extra: pip install 'scheduler-core[dask]'") from error
    return distributed


def in_environment(value: Any) -> str:
    """A setting as a variable holds it."""
    return value if isinstance(value, str) else json.dumps(value)


def _keep_until_done(future: Any) -> None:
    future.add_done_callback(lambda done: done.release())
