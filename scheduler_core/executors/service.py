"""The service as a worker's process has it: its settings, the module that declares its callbacks, and the worker."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_core.cli.logs import configure_logging
from scheduler_core.cli.replica import load_app
from scheduler_core.container import Container
from scheduler_core.engine.remote.worker import Worker
from scheduler_core.service import declared_jobs
from scheduler_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """A worker, and the container with its connections: to be closed after the worker has stopped."""

    container: Container
    worker: Worker


def open_service(settings: Settings, *, max_concurrent_runs: int) -> Service:
    """A worker that is ready to start, with the callbacks that the module `app` declares.

    Args:
        settings: Those of the replica that the worker works for.
        max_concurrent_runs: How many callbacks it executes at once.

    Returns:
        The worker, and the container with its connections.

    Raises:
        CallbackNotFoundError: The module `app` can't be imported.
    """
    configure_logging(settings.log_format, settings.log_level)
    if settings.app is not None:
        load_app(settings.app)
    container = Container(settings)
    worker = container.make_worker(max_concurrent_runs)
    for job in declared_jobs():
        worker.callbacks.register(job.callback)
    return Service(container, worker)
