"""`scheduler web`: the API and the dashboard, in a process that does nothing else."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Annotated

import typer

from scheduler_core.cli.logs import configure_logging
from scheduler_core.cli.output import console
from scheduler_core.cli.signals import StopSignals
from scheduler_core.container import Container
from scheduler_core.settings import Settings, load_settings
from scheduler_core.web import require_extra

DEFAULT_PORT = 8080

logger = logging.getLogger("scheduler_core")


def web(
    host: Annotated[str | None, typer.Option(help="Where to listen; api_host by default.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Where to listen; api_port by default, else 8080.")
    ] = None,
    descriptor: Annotated[int | None, typer.Option("--fd", hidden=True)] = None,
) -> None:
    """The API and the dashboard, without being a replica, until SIGTERM."""
    require_extra()
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level)
    from scheduler_core.web.server import inherited, listen, url_of

    if descriptor is not None:
        listening = inherited(descriptor)
    else:
        wanted = settings.api_port if port is None else port
        listening = listen(host or settings.api_host, DEFAULT_PORT if wanted is None else wanted)
        console.print(f"serving {url_of(listening)}; Ctrl-C stops it", markup=False, soft_wrap=True)
    asyncio.run(_serve(settings, listening))


async def _serve(settings: Settings, listening: socket.socket) -> None:
    from scheduler_core.web.app import create_app
    from scheduler_core.web.server import serve

    stop = asyncio.Event()
    StopSignals(stop.set, tell=logger.warning)
    container = Container(settings)
    try:
        await container.check_schema()
        await serve(create_app(container), listening, stop, proxies=settings.api_trusted_proxies)
    finally:
        listening.close()
        await container.close()
