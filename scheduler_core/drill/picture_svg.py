"""The picture of a drill as an SVG file that needs nothing beside itself, on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil

from scheduler_core.drill.picture import Family, Life, Mark, Picture, Span, TermSpan
from scheduler_core.support.svg_page import svg_page

WIDTH = 1200.0
LEFT = 78.0
RIGHT = 22.0
STAVE_SECONDS = 30.0
MAX_STAVES = 60
HEAD = 74.0
LABELS = 44.0
LABEL_LEVELS = 3
LANE = 24.0
STRIP = 34.0
AXIS = 22.0
BETWEEN = 16.0
FOOT = 40.0
BIN_SECONDS = 0.1
TICK_SECONDS = (1, 2, 5, 10, 30, 60, 120, 300)
CHARACTER = 5.6
"""Width of a character of a label, about."""

STYLE = """
.label { fill: #1b1f24; font-size: 10px; } .number { fill: #ffffff; font-size: 10px; font-weight: 600; }
.grid { stroke: #e4e7eb; stroke-width: 1; } .bed { fill: #f6f8fa; }
.life { stroke: #8c959f; stroke-width: 2; stroke-linecap: round; }
.fires { fill: #6e7781; } .silence { fill: #d55e00; fill-opacity: .22; } .quiet { fill: #b04a00; font-size: 10px; }
.takeover { fill: #d55e00; fill-opacity: .20; } .thread { stroke: #d55e00; stroke-width: 1; stroke-opacity: .55; }
.mark { fill: #d55e00; } .stroke { stroke: #d55e00; stroke-width: 2; fill: none; stroke-linecap: round; }
.death { stroke: #1b1f24; stroke-width: 1.8; stroke-linecap: round; }
.term0 { fill: #0072b2; } .term1 { fill: #a85f00; } .term2 { fill: #00795a; } .term3 { fill: #a34d80; }
@media (prefers-color-scheme: dark) {
.label { fill: #e6edf3; }
.grid { stroke: #21262d; } .bed { fill: #151b23; } .life { stroke: #6e7681; } .fires { fill: #8b949e; }
.death { stroke: #e6edf3; } .quiet { fill: #ff9e5e; } .mark { fill: #ff7b2e; }
.stroke, .thread { stroke: #ff7b2e; } .silence, .takeover { fill: #ff7b2e; }
.term0 { fill: #2f81c7; } .term1 { fill: #b9770e; } .term2 { fill: #0e9270; } .term3 { fill: #b9629a; }
}
"""
"""Okabe and Ito's colours, darkened until white figures read well on them: blue, orange, green, purple; vermilion is
kept for faults. Terms also differ by place and by their number."""


def draw_svg(picture: Picture, title: str, subtitle: str) -> str:
    """The whole file. Parameters: title and subtitle, two lines of text above the picture."""
    staves = min(MAX_STAVES, max(1, ceil(picture.seconds / STAVE_SECONDS)))
    length = picture.seconds / staves or 1.0
    height = LABELS + picture.lanes * LANE + STRIP + AXIS + BETWEEN
    whole = HEAD + staves * height + FOOT
    parts: list[str] = []
    for number in range(staves):
        top = HEAD + number * height
        parts += _Stave(picture, Span(number * length, (number + 1) * length), top).parts()
    parts += _legend(picture, whole - FOOT / 2)
    return svg_page(title, subtitle, parts, width=WIDTH, height=whole, left=LEFT, style=STYLE)


class _Stave:
    """One stretch of time across the page; `top` in pixels."""

    def __init__(self, picture: Picture, stave: Span, top: float) -> None:
        self._picture = picture
        self._stave = stave
        self._scale = (WIDTH - LEFT - RIGHT) / (stave.until - stave.since)
        self._lanes_top = top + LABELS
        self._strip_top = self._lanes_top + picture.lanes * LANE + 4
        self._bottom = self._strip_top + STRIP - 4

    def parts(self) -> Iterator[str]:
        yield from self._ground()
        marks = [mark for mark in self._picture.marks if self._touches(mark)]
        for mark in marks:
            yield self._box("takeover", mark, self._lanes_top, self._bottom, at_least=1.5)
        for life in filter(self._touches, self._picture.lives):
            yield from self._life(life)
        for term_span in filter(self._touches, self._picture.terms):
            yield from self._term_span(term_span)
        yield from self._fires()
        yield from self._faults([mark for mark in marks if self._holds(mark.since)])

    def _touches(self, span: Span) -> bool:
        return span.since < self._stave.until and span.until > self._stave.since

    def _holds(self, second: float) -> bool:
        return self._stave.since <= second < self._stave.until

    def _x(self, second: float) -> float:
        inside = min(max(second, self._stave.since), self._stave.until)
        return LEFT + (inside - self._stave.since) * self._scale

    def _middle(self, lane: int) -> float:
        return self._lanes_top + (lane + 0.5) * LANE

    def _box(self, style: str, span: Span, top: float, bottom: float, *, at_least: float = 0.5) -> str:
        left = self._x(span.since)
        width = max(at_least, self._x(span.until) - left)
        return f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"/>'

    def _ground(self) -> Iterator[str]:
        """The bed of the lanes, the axis and the names."""
        yield (
            f'<rect class="bed" x="{LEFT:g}" y="{self._lanes_top:.1f}" rx="4" width="{WIDTH - LEFT - RIGHT:g}" '
            f'height="{self._bottom - self._lanes_top:.1f}"/>'
        )
        step = next((s for s in TICK_SECONDS if s * self._scale >= 60), TICK_SECONDS[-1])
        second = ceil(self._stave.since / step) * step
        while second <= self._stave.until:
            x = self._x(second)
            yield f'<path class="grid" d="M{x:.1f} {self._lanes_top:.1f}V{self._bottom:.1f}"/>'
            y = self._bottom + 14
            yield f'<text class="text" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{_clock(second)}</text>'
            second += step
        for lane in range(self._picture.lanes):
            yield (
                f'<text class="name" x="{LEFT - 10:g}" y="{self._middle(lane) + 4:.1f}" '
                f'text-anchor="end">replica {chr(ord("a") + lane % 26)}</text>'
            )
        yield (f'<text class="name" x="{LEFT - 10:g}" y="{self._bottom - 10:.1f}" text-anchor="end">fires</text>')

    def _life(self, life: Life) -> Iterator[str]:
        y = self._middle(life.lane)
        replica = life.replica
        ending = "" if replica.exit_code is None else f", ended with {replica.exit_code}"
        yield (
            f'<path class="life" d="M{self._x(life.since):.1f} {y:.1f}H{self._x(life.until):.1f}">'
            f"<title>pid {replica.pid}{ending}</title></path>"
        )
        if replica.exit_code not in {None, 0} and self._holds(life.until):
            x = self._x(life.until) + 3
            yield f'<path class="death" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'

    def _term_span(self, term_span: TermSpan) -> Iterator[str]:
        left, y = self._x(term_span.since), self._middle(term_span.lane)
        width = max(1.0, self._x(term_span.until) - left - 1)
        label = str(term_span.term)
        yield (
            f'<rect class="term{term_span.term % 4}" x="{left:.1f}" y="{y - 7:.1f}" width="{width:.1f}" height="14" '
            f'rx="3"><title>term {term_span.term}, {term_span.until - term_span.since:.2f} s</title></rect>'
        )
        if width > CHARACTER * len(label) + 8:
            yield f'<text class="number" x="{left + 5:.1f}" y="{y + 3.5:.1f}">{label}</text>'

    def _fires(self) -> Iterator[str]:
        """Fires per 100 ms as a skyline, and the silences in it."""
        bins = ceil((self._stave.until - self._stave.since) / BIN_SECONDS)
        edges = [self._stave.since + BIN_SECONDS * number for number in range(bins + 1)]
        counts = [self._picture.fires_between(edges[n], edges[n + 1]) for n in range(bins)]
        # A burst of caught-up fires would flatten all the rest: the usual height is two thirds of the strip.
        usual = sorted(count for count in counts if count)
        unit = (STRIP - 8) / max(1.0, 1.5 * usual[len(usual) // 2]) if usual else 0.0
        path = [f"M{LEFT:g} {self._bottom:.1f}"]
        for edge, count in zip(edges, counts, strict=False):
            path.append(f"H{self._x(edge):.1f}V{self._bottom - min(STRIP - 6, count * unit):.1f}")
        path.append(f"H{self._x(edges[-1]):.1f}V{self._bottom:.1f}Z")
        yield f'<path class="fires" d="{"".join(path)}"/>'
        for silence in filter(self._touches, self._picture.silences):
            yield self._box("silence", silence, self._strip_top, self._bottom)
            text = f"{silence.until - silence.since:.1f} s"
            if (self._x(silence.until) - self._x(silence.since)) > CHARACTER * len(text) + 4:
                x = (self._x(silence.since) + self._x(silence.until)) / 2
                yield f'<text class="quiet" x="{x:.1f}" y="{self._bottom - 9:.1f}" text-anchor="middle">{text}</text>'

    def _faults(self, marks: Sequence[Mark]) -> Iterator[str]:
        """A thread through all lanes for each fault, its mark, and its name where there is room."""
        ends = [0.0] * LABEL_LEVELS
        for mark in marks:
            x = self._x(mark.since)
            width = CHARACTER * len(mark.fault.kind) + 14
            level = next((level for level in range(LABEL_LEVELS) if ends[level] < x - 5), None)
            y = self._lanes_top - 9 - (level or 0) * 13
            waited = (
                f"{(mark.until - mark.since) * 1e3:.1f} ms" if mark.fault.first_fire_at else "nobody fired after it"
            )
            yield (
                f"<g><title>{mark.fault.number}: {escape(mark.fault.kind)}, {escape(mark.fault.target)}; "
                f"{waited}</title>"
            )
            yield f'<path class="thread" d="M{x:.1f} {y + 5:.1f}V{self._bottom:.1f}"/>{_glyph(mark.family, x, y)}'
            if level is not None and x + width < WIDTH:
                ends[level] = x + width
                yield f'<text class="label" x="{x + 8:.1f}" y="{y + 3.5:.1f}">{escape(mark.fault.kind)}</text>'
            yield "</g>"


def _glyph(family: Family, x: float, y: float) -> str:
    """Marks differ by shape: colour is not needed to tell them apart."""
    shapes = {
        Family.KILL: f'class="stroke" d="M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7"',
        Family.STOP: f'class="stroke" d="M{x - 2.5:.1f} {y - 4:.1f}v8m5 -8v8"',
        Family.ASKED: f'class="stroke" d="M{x:.1f} {y - 4:.1f}v8m-3.5 -3.5l3.5 3.5l3.5 -3.5"',
        Family.REDIS: f'class="mark" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5Z"',
        Family.POSTGRES: f'class="mark" d="M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"',
        Family.OTHER: f'class="mark" d="M{x:.1f} {y - 5:.1f}l5 9h-10Z"',
    }
    return f"<path {shapes[family]}/>"


def _legend(picture: Picture, y: float) -> Iterator[str]:
    x = LEFT
    yield f'<rect class="term0" x="{x:g}" y="{y - 7:.1f}" width="26" height="14" rx="3"/>'
    yield f'<text class="number" x="{x + 5:g}" y="{y + 3.5:.1f}">7</text>'
    yield f'<text class="text" x="{x + 32:g}" y="{y + 4:.1f}">leads, term 7</text>'
    x += 122
    yield f'<path class="life" d="M{x:g} {y:.1f}h26"/><text class="text" x="{x + 32:g}" y="{y + 4:.1f}">follows</text>'
    x += 86
    yield f'<rect class="takeover" x="{x:g}" y="{y - 7:.1f}" width="14" height="14"/>'
    yield f'<text class="text" x="{x + 20:g}" y="{y + 4:.1f}">until the next fire</text>'
    x += 130
    for family in Family:
        if any(mark.family is family for mark in picture.marks):
            yield _glyph(family, x + 5, y)
            yield f'<text class="text" x="{x + 16:g}" y="{y + 4:.1f}">{family.value}</text>'
            x += 34 + 5.8 * len(family.value)


def _clock(second: int) -> str:
    return f"{second} s" if second < 120 else f"{second // 60}:{second % 60:02d} min"
