"""Results as an SVG: throughput beside its limit, lateness by rate, the cost of a tick and memory by number of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from bench.goals import with_goal
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.report import shown
from scheduler_core.support.svg_page import svg_page

WIDTH = 900.0
EDGE = 30.0
LEFT = 250.0
RIGHT = 150.0
SPAN = WIDTH - LEFT - RIGHT
TOP = 84.0
ROW = 26.0
BAR = 14.0
HEAD = 30.0
BETWEEN = 30.0
DECADES_MS = (-2, 4)
"""The axis of lateness goes from 0.01 ms to 10 s."""

Figures = Mapping[str, Figure]

STYLE = """
.heading { fill: #1b1f24; font-size: 13px; font-weight: 600; }
.value { fill: #1b1f24; font-size: 11px; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; }
.ours { fill: #0072b2; } .other { fill: #8c959f; } .part { fill: #56a0cf; } .sample { fill: #1b1f24; }
.range { stroke: #0072b2; stroke-width: 4; stroke-opacity: .35; stroke-linecap: round; }
.tail { stroke: #8c959f; stroke-width: 1.5; } .grid { stroke: #e4e7eb; } .ring { stroke: #0072b2; fill: #ffffff; }
.goal { stroke: #b04a00; stroke-width: 1.5; stroke-dasharray: 4 3; } .aim { fill: #b04a00; font-size: 10px; }
@media (prefers-color-scheme: dark) {
.heading, .value { fill: #e6edf3; } .value { stroke: #0d1117; }
.ours { fill: #2f81c7; } .other { fill: #6e7681; } .part { fill: #1d5583; }
.sample { fill: #e6edf3; } .range { stroke: #2f81c7; } .tail { stroke: #8b949e; } .grid { stroke: #21262d; }
.ring { stroke: #57a5e6; fill: #0d1117; } .goal { stroke: #ff9e5e; } .aim { fill: #ff9e5e; }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its name, its length, how much of that is of another kind, and the single rounds."""

    name: str
    value: float
    style: str = "ours"
    part: float = 0.0
    samples: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Bars:
    """A panel: rows on one scale, up to a goal or down to it."""

    heading: str
    unit: str
    rows: Sequence[Bar]
    goal: float | None = None

    @property
    def height(self) -> float:
        return HEAD + len(self.rows) * ROW + BETWEEN if self.rows else 0.0

    def draw(self, top: float) -> Iterator[str]:
        """The panel's elements, from `top` pixels on; none without rows."""
        if not self.rows:
            return
        yield _heading(self.heading, top)
        scale = SPAN / (max([*(row.value for row in self.rows), self.goal or 0.0]) or 1.0)
        for number, row in enumerate(self.rows):
            yield from self._row(row, top + HEAD + number * ROW, scale)
        if self.goal is not None:
            x, bottom = LEFT + self.goal * scale, top + HEAD + len(self.rows) * ROW
            yield f'<path class="goal" d="M{x:.1f} {top + HEAD - 4:g}V{bottom:g}"/>'
            said = escape(f"goal {shown(self.goal)} {self.unit}")
            yield f'<text class="aim" x="{x:.1f}" y="{bottom + 11:g}" text-anchor="middle">{said}</text>'

    def _row(self, row: Bar, y: float, scale: float) -> Iterator[str]:
        yield _name(row.name, y + 11)
        yield _rect(row.style, LEFT, y, row.value * scale)
        if row.part:
            yield _rect("part", LEFT + (row.value - row.part) * scale, y, row.part * scale)
        for sample in row.samples:
            x = LEFT + min(sample * scale, SPAN + 8)
            yield f'<circle class="sample" cx="{x:.1f}" cy="{y + BAR + 4:g}" r="1.8"/>'
        x = LEFT + row.value * scale + 8
        yield f'<text class="value" x="{x:.1f}" y="{y + 11:g}">{escape(f"{shown(row.value)} {self.unit}")}</text>'


@dataclass(frozen=True, slots=True)
class Lateness:
    """A panel on a logarithmic axis: for each rate its median, p99 and maximum."""

    rates: Sequence[tuple[int, Sequence[Figure]]]

    @property
    def height(self) -> float:
        return HEAD + len(self.rates) * ROW + 14 + BETWEEN if self.rates else 0.0

    def draw(self, top: float) -> Iterator[str]:
        """The panel's elements, from `top` pixels on; none without rates."""
        if not self.rates:
            return
        yield _heading(
            "Lateness of evenly spread fires: median (dot), p99 (ring), maximum (end of the line), goals (dashed)", top
        )
        bottom = top + HEAD + len(self.rates) * ROW
        for decade in range(DECADES_MS[0], DECADES_MS[1] + 1):
            x = _x(10.0**decade)
            yield f'<path class="grid" d="M{x:.1f} {top + HEAD - 4:g}V{bottom:g}"/>'
            label = f"{10.0**decade:g} ms" if decade < 3 else f"{10 ** (decade - 3)} s"
            yield f'<text class="text" x="{x:.1f}" y="{bottom + 14:g}" text-anchor="middle">{label}</text>'
        for number, (rate, figures) in enumerate(self.rates):
            yield from self._row(rate, figures, top + HEAD + number * ROW + 8)

    def _row(self, rate: int, figures: Sequence[Figure], y: float) -> Iterator[str]:
        p50, p99, most = (_x(figure.value) for figure in figures)
        yield _name(f"{rate:,} fires/s", y + 4)
        yield f'<path class="tail" d="M{p99:.1f} {y:g}H{most:.1f}m0 -4v8"/>'
        yield f'<path class="range" d="M{p50:.1f} {y:g}H{p99:.1f}"/>'
        yield f'<circle class="ours" cx="{p50:.1f}" cy="{y:g}" r="4.5"/>'
        yield f'<circle class="ring" cx="{p99:.1f}" cy="{y:g}" r="4.5" stroke-width="2"/>'
        for figure in figures:
            if figure.at_most is not None:
                said = escape(f"goal: {figure.says} at most {figure.at_most:g} ms")
                yield f'<path class="goal" d="M{_x(figure.at_most):.1f} {y - 10:g}v20"><title>{said}</title></path>'
        said = f"{' / '.join(shown(figure.value) for figure in figures)} ms"
        yield f'<text class="value" x="{WIDTH - RIGHT + 8:g}" y="{y + 4:g}">{said}</text>'


def draw_svg(figures: Sequence[Figure], title: str, subtitle: str) -> str:
    """The whole file: a panel for each measure that is there."""
    known = {figure.key: with_goal(figure) for figure in figures}
    parts: list[str] = []
    top = TOP
    panels: list[Bars | Lateness] = [_throughput(known), _lateness(known), *_ticks(known), _memory(known)]
    for panel in panels:
        parts += panel.draw(top)
        top += panel.height
    return svg_page(title, subtitle, parts, width=WIDTH, height=top, left=EDGE, style=STYLE)


def _throughput(known: Figures) -> Bars:
    ours = known.get("throughput.fires_per_second")
    limits = [figure for key, figure in known.items() if key.startswith("limit.")]
    if ours is None or not limits:
        return Bars("", "", ())
    limit = max(limits, key=lambda figure: figure.value)
    rows = (
        Bar("the same rows in plain SQL", limit.value, "other", samples=limit.samples),
        Bar("scheduler", ours.value, samples=ours.samples),
    )
    return Bars(f"Durable throughput, {ours.note}", "fires/s", rows, ours.at_least)


def _ticks(known: Figures) -> Iterator[Bars]:
    for kind, says in (("busy", "the same 1,000 jobs busy"), ("turns", "each job in its turn")):
        rows = []
        for jobs in _sizes(known, f"tick.{kind}.", ".leader_ms"):
            leader = known[f"tick.{kind}.{jobs}.leader_ms"].value
            postgres = known[f"tick.{kind}.{jobs}.postgres_ms"].value
            rows.append(Bar(f"{jobs:,} jobs stored", leader + postgres, part=postgres))
        heading = f"CPU for a second of ticks with 200 fires, {says}: leader, and Postgres (paler)"
        least = f"tick.{kind}.ratio"
        goal = known[least].at_most if rows and least in known else None
        yield Bars(heading, "ms", tuple(rows), rows[0].value * goal if rows and goal is not None else None)


def _memory(known: Figures) -> Bars:
    sizes = _sizes(known, "memory.", ".leader_mb")
    rows = [Bar(f"{jobs:,} jobs stored", known[f"memory.{jobs}.leader_mb"].value) for jobs in sizes]
    worst = known.get("memory.leader_mb")
    if worst is not None and sizes:
        rows.append(Bar(f"{sizes[-1]:,}, after a burst", worst.value))
    return Bars("Leader's resident memory", "MB", tuple(rows), None if worst is None else worst.at_most)


def _sizes(known: Figures, before: str, behind: str) -> list[int]:
    """The numbers that stand in keys between two texts, ascending."""
    inner = (key[len(before) : -len(behind)] for key in known if key.startswith(before) and key.endswith(behind))
    return sorted(int(word) for word in inner if word.isdigit())


def _lateness(known: Figures) -> Lateness:
    return Lateness(
        [
            (rate, [known[f"lateness.{rate}.{name}_ms"] for name in ("p50", "p99", "max")])
            for rate in _sizes(known, "lateness.", ".p50_ms")
        ]
    )


def _heading(text: str, top: float) -> str:
    return f'<text class="heading" x="{EDGE:g}" y="{top + 14:g}">{escape(text)}</text>'


def _name(text: str, y: float) -> str:
    return f'<text class="name" x="{LEFT - 10:g}" y="{y:g}" text-anchor="end">{escape(text)}</text>'


def _rect(style: str, x: float, y: float, width: float) -> str:
    return f'<rect class="{style}" x="{x:.1f}" y="{y:g}" width="{max(1.0, width):.1f}" height="{BAR:g}" rx="2"/>'


def _x(milliseconds: float) -> float:
    first, last = DECADES_MS
    place = (log10(max(milliseconds, 10.0**first)) - first) / (last - first)
    return LEFT + min(1.0, place) * SPAN
