"""The load as an SVG file that needs nothing beside itself, on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from scheduler_core.simulation.clock_changes import ClockChange
from scheduler_core.simulation.shades import LEVELS, Shades
from scheduler_core.simulation.simulation import Simulation
from scheduler_core.simulation.span import HOURS, Day
from scheduler_core.support.svg_page import svg_page

LEFT = 130.0
TOP = 96.0
CELL = 34.0
ROW = 20.0
BAR = 150.0
RIGHT = 90.0
FOOT = 56.0
WIDTH = LEFT + HOURS * CELL + 16 + BAR + RIGHT

STYLE = """
.rest { fill: #8c959f; }
.bar { fill: #8c959f; } .mark { fill: none; stroke: #d55e00; stroke-width: 2; } .gone { stroke: #8c959f; }
.l0 { fill: #f6f8fa; } .l1 { fill: #deebf3; } .l2 { fill: #c3dcec; } .l3 { fill: #9cc7e1; } .l4 { fill: #6aaed6; }
.l5 { fill: #3f8fc4; } .l6 { fill: #1f6fae; } .l7 { fill: #0a4f8f; } .l8 { fill: #08306b; }
@media (prefers-color-scheme: dark) {
.rest { fill: #6e7681; }
.mark { stroke: #ff7b2e; }
.l0 { fill: #151b23; } .l1 { fill: #10273c; } .l2 { fill: #123653; } .l3 { fill: #16486f; } .l4 { fill: #1d5f92; }
.l5 { fill: #2f81c7; } .l6 { fill: #57a5e6; } .l7 { fill: #95caf5; } .l8 { fill: #d6ecff; }
}
"""
"""One hue from faint to strong, either way readable without telling colours apart; vermilion marks DST."""


def draw_svg(simulation: Simulation, title: str, subtitle: str) -> str:
    """The whole file. Parameters: title and subtitle, two lines of text above the picture."""
    load, shades = simulation.load, Shades(simulation.load)
    height = TOP + len(load.fires) * ROW + FOOT
    busiest_day = max(map(sum, load.fires), default=0) or 1
    parts = [
        f'<text class="text" x="{LEFT + hour * CELL:g}" y="{TOP - 8:g}">{hour:02}:00</text>'
        for hour in range(0, HOURS, 3)
    ]
    for number, (day, hours) in enumerate(zip(load.span.days, load.fires, strict=True)):
        parts += _row(day, hours, shades, TOP + number * ROW, busiest_day)
    parts += _marks(simulation)
    parts += _legend(shades, height - FOOT / 2, with_marks=bool(simulation.clock_changes))
    return svg_page(title, subtitle, parts, width=WIDTH, height=height, left=LEFT, style=STYLE)


def _row(day: Day, hours: tuple[int, ...], shades: Shades, top: float, busiest_day: int) -> Iterator[str]:
    style = "name rest" if day.date.weekday() >= 5 else "name"
    yield (
        f'<text class="{style}" x="{LEFT - 10:g}" y="{top + 14:g}" text-anchor="end">'
        f"{day.date:%a} {day.date.isoformat()}</text>"
    )
    for hour, count in enumerate(hours):
        left = LEFT + hour * CELL
        if day.edges[hour] == day.edges[hour + 1]:
            yield f'<path class="gone" d="M{left + 3:g} {top + ROW - 4:g}L{left + CELL - 5:g} {top + 4:g}"/>'
            continue
        yield (
            f'<rect class="l{shades.level(count)}" x="{left:g}" y="{top + 1:g}" width="{CELL - 2:g}" '
            f'height="{ROW - 2:g}" rx="3"><title>{day.date.isoformat()} {hour:02}:00, {count:,} fires</title></rect>'
        )
    left, total = LEFT + HOURS * CELL + 16, sum(hours)
    width = BAR * total / busiest_day
    yield f'<rect class="bar" x="{left:g}" y="{top + 6:g}" width="{width:.1f}" height="{ROW - 12:g}" rx="2"/>'
    yield f'<text class="text" x="{left + width + 6:.1f}" y="{top + 14:g}">{total:,}</text>'


def _marks(simulation: Simulation) -> Iterator[str]:
    """A frame around each hour in which the clocks change for a job."""
    by_place: dict[tuple[int, int], list[ClockChange]] = {}
    for change in simulation.clock_changes:
        for number, day in enumerate(simulation.span.days):
            if day.since <= change.instant < day.until:
                by_place.setdefault((number, day.hour_of(change.instant)), []).append(change)
    for (number, hour), changes in by_place.items():
        says = "; ".join(f"{c.timezone}: {c.wall_times} wall times {c.effect.value}" for c in changes)
        yield (
            f'<rect class="mark" x="{LEFT + hour * CELL:g}" y="{TOP + number * ROW + 1:g}" width="{CELL - 2:g}" '
            f'height="{ROW - 2:g}" rx="3"><title>{escape(says)}</title></rect>'
        )


def _legend(shades: Shades, y: float, *, with_marks: bool) -> Iterator[str]:
    x = LEFT
    for level in range(LEVELS + 1):
        yield f'<rect class="l{level}" x="{x + level * 18:g}" y="{y - 9:g}" width="16" height="12" rx="2"/>'
    x += (LEVELS + 1) * 18 + 8
    scale = "logarithmic" if shades.is_logarithmic else "even"
    yield (
        f'<text class="text" x="{x:g}" y="{y + 1:g}">none, then {shades.low:,} to {shades.high:,} fires an hour, '
        f"{scale}</text>"
    )
    if with_marks:
        yield f'<rect class="mark" x="{x + 330:g}" y="{y - 9:g}" width="16" height="12" rx="2"/>'
        yield f'<text class="text" x="{x + 352:g}" y="{y + 1:g}">the clocks change</text>'
