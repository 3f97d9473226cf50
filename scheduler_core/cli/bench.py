"""`scheduler bench`: fires per second and lateness on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scheduler_core.cli.drill import staging_settings
from scheduler_core.cli.output import AsJson, console, print_json

if TYPE_CHECKING:
    from scheduler_core.benchmark.figure import Figure
    from scheduler_core.benchmark.stage import Servers

DEFAULT_RATES = (100, 1_000)

# Progress is for whoever watches; standard output is for the figures.
_progress = Console(stderr=True)


def bench(
    fires: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many jobs fall due at once.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How many times they do, after a warm-up.")] = 3,
    rate: Annotated[
        list[int], typer.Option(min=1, max=50_000, help="Fires per second, spread evenly, to measure lateness at.")
    ] = list(DEFAULT_RATES),  # noqa: B006 - typer copies it
    seconds: Annotated[float, typer.Option(min=1.0, max=3600.0, help="How long each rate is kept up.")] = 10.0,
    staging: Annotated[
        bool, typer.Option("--staging", help="On the configured servers, in schemas of its own, dropped at the end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure fires per second and lateness of one leader on this machine; takes about a minute.

    On embedded servers of its own, or with --staging on the configured ones. A goal missed is shown, and no failure.
    """
    from scheduler_core.benchmark.document import as_document
    from scheduler_core.benchmark.report import render
    from scheduler_core.benchmark.stage import open_servers

    def tell(line: str) -> None:
        _progress.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    with open_servers(tell, staging_settings() if staging else None) as servers:
        figures = asyncio.run(_measure(servers, fires, rounds, rate, seconds))
    if as_json:
        print_json(as_document(figures))
    else:
        console.print(render(figures))


async def _measure(servers: Servers, fires: int, rounds: int, rates: list[int], seconds: float) -> list[Figure]:
    from scheduler_core.benchmark import lateness, throughput

    async with servers.stage("throughput") as stage:
        servers.tell(f"{fires:,} jobs at once, {rounds} times after a warm-up …")
        figures = throughput.figures([played async for played in throughput.rounds(stage, fires, rounds)])
    servers.tell(f"{', '.join(f'{rate:,}' for rate in rates)} fires/s for {seconds:g} s each …")
    return figures + await lateness.measure(servers, rates, seconds, warm_up_seconds=lateness.WARM_UP_SECONDS)
