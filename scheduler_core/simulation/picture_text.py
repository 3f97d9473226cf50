"""The load in a terminal: a row for each day, a cell for each hour, darker for more fires."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import ceil

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler_core.simulation.load import Load
from scheduler_core.simulation.shades import LEVELS, Shades
from scheduler_core.simulation.span import HOURS

MOST_ROWS = 62
NAME_WIDTH = 16

CELLS = ("· ", "░░", "░░", "▒▒", "▒▒", "▓▓", "▓▓", "██", "██")
STYLES = ("dim", "dim cyan", "cyan", "cyan", "green", "green", "yellow", "red", "bold red")
"""Shape says it without colour, at half the steps."""


def draw(load: Load) -> RenderableType:
    """The heat map, 80 columns wide; of a span of more than 62 days a row shows the busiest of several days."""
    days_per_row = ceil(len(load.fires) / MOST_ROWS)
    shades = Shades(load)
    rows = [
        _row(load, shades, first, min(first + days_per_row, len(load.fires)))
        for first in range(0, len(load.fires), days_per_row)
    ]
    return Group(_axis(), *rows, _legend(shades, days_per_row))


def _axis() -> Text:
    hours = "".join(f"{hour:02}".ljust(6) for hour in range(0, HOURS, 3))
    return Text(" " * NAME_WIDTH + hours.rstrip().ljust(2 * HOURS) + "  fires".rjust(12), style="dim")


def _row(load: Load, shades: Shades, first: int, last: int) -> Text:
    days = range(first, last)
    hours = [max(load.fires[day][hour] for day in days) for hour in range(HOURS)]
    levels = [shades.level(count) for count in hours]
    date = load.span.days[first].date
    weekend = date.weekday() >= 5 and len(days) == 1
    total = sum(sum(load.fires[day]) for day in days)
    return Text.assemble(
        (f"{date:%a} {date.isoformat()}".ljust(NAME_WIDTH), "dim" if weekend else ""), *_cells(levels), f"{total:>12,}"
    )


def _cells(levels: list[int]) -> Iterator[tuple[str, str]]:
    for level, same in groupby(levels):
        yield CELLS[level] * len(list(same)), STYLES[level]


def _legend(shades: Shades, days_per_row: int) -> Text:
    scale = "logarithmic" if shades.is_logarithmic else "even"
    rows = "" if days_per_row == 1 else f", {days_per_row} days a row: the busiest of them"
    steps = [(CELLS[level], STYLES[level]) for level in range(1, LEVELS + 1, 2)]
    return Text.assemble(
        (" " * NAME_WIDTH, ""),
        ("·", STYLES[0]),
        (" none  ", "dim"),
        *steps,
        (f" {shades.low:,} to {shades.high:,} fires an hour, {scale}{rows}", "dim"),
    )
