"""`scheduler run` and `scheduler migrate`."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler_core.cli.logs import configure_logging, name_replica
from scheduler_core.cli.output import console, with_container
from scheduler_core.cli.signals import StopSignals, end_cancelled, limit_the_end
from scheduler_core.cli.traces import close_traces, configure_traces
from scheduler_core.container import Container
from scheduler_core.domain.errors import CallbackNotFoundError
from scheduler_core.runtime.event_loops import run_to_its_end
from scheduler_core.runtime.task_ends import end_tasks
from scheduler_core.service import declared_jobs
from scheduler_core.settings import load_settings
from scheduler_core.web import require_extra

if TYPE_CHECKING:
    from scheduler_core.web.server import ServerThread

logger = logging.getLogger("scheduler_core")


def run(
    app: Annotated[str, typer.Option(help="The module that declares the jobs, with @job.", envvar="SCHEDULER_APP")],
    api: Annotated[bool, typer.Option("--api/--no-api", help="Serve the API where api_port is set.")] = True,
) -> None:
    """One replica against the configured servers, until SIGTERM."""
    settings = load_settings(app=app)
    configure_logging(settings.log_format, settings.log_level)
    if (api and settings.api_port is not None) or settings.metrics_port is not None:
        require_extra()
    load_app(app)
    provider = configure_traces() if settings.traces else None
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    try:
        with runner:
            run_to_its_end(runner, _replica(Container(settings), serves=api), logger)
            limit_the_end(logger.error)
    finally:
        close_traces(provider)


def load_app(module: str) -> None:
    """Import the module that declares jobs, from the working directory too.

    Raises CallbackNotFoundError if it can't be imported.
    """
    import_from_here()
    try:
        importlib.import_module(module)
    except Exception as error:
        raise CallbackNotFoundError(
            f"--app {module}: the module can't be imported ({type(error).__name__}: {error})"
        ) from error


def import_from_here() -> None:
    """Let modules be imported from the working directory, as `python -m` does."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _server(container: Container) -> ServerThread | None:
    """The API beside this replica, if it is to be served."""
    settings = container.settings
    if settings.api_port is None:
        return None
    from scheduler_core.web.server import ServerThread

    return ServerThread(container, settings.api_host, settings.api_port)


def _metrics_server(container: Container) -> ServerThread | None:
    """The metrics beside this replica, if they have a port of their own."""
    settings = container.settings
    if settings.metrics_port is None:
        return None
    from scheduler_core.web.health.metrics import metrics_app
    from scheduler_core.web.server import ServerThread

    return ServerThread(
        container,
        settings.metrics_host,
        settings.metrics_port,
        make_app=metrics_app,
        name="scheduler metrics",
        settings=("metrics_host", "metrics_port"),
    )


async def _replica(container: Container, *, serves: bool) -> None:
    server: ServerThread | None = None
    metrics: ServerThread | None = None
    asked = asyncio.Event()
    StopSignals(asked.set, tell=logger.warning)
    name_replica(container.get_scheduler())
    starting = asyncio.create_task(container.start(declared_jobs()), name="start")
    waiting = asyncio.create_task(asked.wait(), name="signal")
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            scheduler = starting.result()
            server = _server(container) if serves else None
            metrics = _metrics_server(container)
            for serving in (server, metrics):
                if serving is not None:
                    serving.start()
            tune_gc()
            logger.info("replica %s takes part with %d jobs", scheduler.instance.instance_id, len(declared_jobs()))
            await asked.wait()
            logger.info("asked to stop: handing over, then draining; asked again it ends at once")
    except asyncio.CancelledError:
        # Nobody of ours cancels this task. What fires and keeps the leadership was cancelled with it, and a death is
        # charged to the run that brings it about, again and again; a stop that hands over is not.
        end_cancelled(logger.error)
    finally:
        starting.cancel()
        waiting.cancel()
        if server is not None:
            # Another process on this host may serve as soon as it can: running work is drained without the port.
            server.ask_to_stop()
        await end_tasks(starting, waiting)
        await container.stop()
        if metrics is not None:
            # To the last: whoever asks whether this process lives must not kill it while its work is drained.
            metrics.ask_to_stop()
        for serving in (server, metrics):
            if serving is not None:
                await serving.join()
        await container.close()


COLLECT_AFTER = (50_000, 20, 20)
"""Objects, then collections of the younger generation."""


def tune_gc() -> None:
    """Keep what is there after the start out of every later garbage collection, and collect less often.

    A full collection walks all modules, classes and compiled statements for about 50 ms, and every fire of that
    moment is late by it (measured: one second in a minute of 200 fires each). What a fire makes is freed by counting
    references; looking for cycles after each 700 objects is a third of its cost. A process of our own may do this; a
    service that embeds the scheduler decides for itself (docs/configuration.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def migrate_schema(
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether there is anything to do (exit code 1 if so).")
    ] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Only print the statements.")] = False,
    since: Annotated[str, typer.Option("--from", help="With --sql: the revision that the schema has.")] = "base",
) -> None:
    """Bring the schema to head, beside replicas that fire."""
    from scheduler_core.admin import schema as schemas

    settings = load_settings()
    if sql:
        print(schemas.statements_to_head(settings.schema, since))
        return

    async def work(container: Container) -> tuple[str, str | None]:
        told = await (schemas.require_head if check else schemas.bring_to_head)(container)
        return told, await container.get_auditor().how_to_create_reader()

    told, to_create = with_container(work)
    console.print(told, markup=False)
    if to_create is not None:
        console.print(f"auditors have no role yet, and this user may not create it: {to_create}", markup=False)
