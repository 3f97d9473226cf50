"""The picture of a drill in a terminal: a lane per replica, terms thick, faults marked, fires as a skyline."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import ceil

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler_core.drill.picture import Family, Picture, Span

NAME_WIDTH = 10
COLUMNS = 69
STAVE_SECONDS = 20.0
MAX_STAVES = 3
SKYLINE = " ▁▂▃▄▅▆▇█"

TERM_STYLES = ("blue", "yellow", "green", "magenta", "cyan")
"""Neighbouring terms differ by more than their colour: a change of leader is a change of lane, or a cut in it."""

MARKS: dict[Family, str] = {
    Family.KILL: "✕",
    Family.STOP: "‖",
    Family.ASKED: "↓",
    Family.REDIS: "◆",
    Family.POSTGRES: "●",
    Family.OTHER: "▲",
}


def draw(picture: Picture, columns: int = COLUMNS) -> RenderableType:
    """Draw it in staves one below the other, at most three; a long drill is compressed into them."""
    staves = min(MAX_STAVES, max(1, ceil(picture.seconds / STAVE_SECONDS)))
    length = picture.seconds / staves or 1.0
    parts: list[RenderableType] = []
    for number in range(staves):
        stave = Span(number * length, (number + 1) * length)
        parts += _Stave(picture, stave, columns).lines()
        parts.append(Text())
    return Group(*parts, _legend(picture))


class _Stave:
    """One stretch of time across the screen."""

    def __init__(self, picture: Picture, stave: Span, columns: int) -> None:
        self._picture = picture
        self._stave = stave
        self._columns = columns
        self._step = (stave.until - stave.since) / columns

    def lines(self) -> list[Text]:
        return [
            self._axis(),
            *(self._lane(lane) for lane in range(self._picture.lanes)),
            self._faults(),
            self._skyline(),
        ]

    def _column(self, second: float) -> int:
        return min(self._columns - 1, max(0, int((second - self._stave.since) / self._step)))

    def _touches(self, span: Span) -> bool:
        return span.since < self._stave.until and span.until >= self._stave.since

    def _axis(self) -> Text:
        since, until = f"{self._stave.since:.1f} s", f"{self._stave.until:.1f} s"
        return Text(" " * NAME_WIDTH + since + until.rjust(self._columns - len(since)), style="dim")

    def _lane(self, lane: int) -> Text:
        cells = [(" ", "")] * self._columns
        picture = self._picture
        for life in picture.lives:
            if life.lane == lane and self._touches(life):
                for column in range(self._column(life.since), self._column(life.until) + 1):
                    cells[column] = ("─", "dim")
        for term_span in picture.terms:
            if term_span.lane == lane and self._touches(term_span):
                style = TERM_STYLES[term_span.term % len(TERM_STYLES)]
                first, last = self._column(term_span.since), self._column(term_span.until)
                cells[first : last + 1] = [("━", style)] * (last - first + 1)
                self._number(cells, first, last, term_span.term, style)
        for life in picture.lives:
            died = life.replica.exit_code not in {None, 0}
            if life.lane == lane and died and self._stave.since <= life.until < self._stave.until:
                cells[self._column(life.until)] = ("✕", "bold red")
        return Text.assemble(f"replica {chr(ord('a') + lane % 26)}".ljust(NAME_WIDTH), *_joined(cells))

    @staticmethod
    def _number(cells: list[tuple[str, str]], first: int, last: int, term: int, style: str) -> None:
        label = str(term)
        if last - first >= len(label) + 2:
            for place, digit in enumerate(label, start=first + 1):
                cells[place] = (digit, f"bold {style}")

    def _faults(self) -> Text:
        cells: list[list[str]] = [[] for _ in range(self._columns)]
        for mark in self._picture.marks:
            if self._stave.since <= mark.since < self._stave.until:
                cells[self._column(mark.since)].append(MARKS[mark.family])
        shown = (_crowd(marks) for marks in cells)
        return Text.assemble("faults".ljust(NAME_WIDTH), ("".join(shown), "bold red"))

    def _skyline(self) -> Text:
        edges = [self._stave.since + self._step * column for column in range(self._columns + 1)]
        counts = [self._picture.fires_between(edges[c], edges[c + 1]) for c in range(self._columns)]
        # A burst of caught-up fires would flatten all the rest: the usual height is five eighths.
        usual = sorted(count for count in counts if count)
        unit = 5 / usual[len(usual) // 2] if usual else 0.0
        skyline = "".join(SKYLINE[min(len(SKYLINE) - 1, ceil(count * unit))] for count in counts)
        return Text.assemble("fires".ljust(NAME_WIDTH), (skyline, "cyan"))


def _joined(cells: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Neighbours of the same style as one piece."""
    for style, pieces in groupby(cells, key=lambda cell: cell[1]):
        yield "".join(text for text, _ in pieces), style


def _crowd(marks: list[str]) -> str:
    if len(marks) < 2:
        return marks[0] if marks else " "
    return str(len(marks)) if len(marks) < 10 else "+"


def _legend(picture: Picture) -> Text:
    families = [family for family in Family if any(mark.family is family for mark in picture.marks)]
    marks = "  ".join(f"{MARKS[family]} {family.value}" for family in families)
    # Two lines: all families and the lanes' own signs do not fit into one of 80 columns.
    return Text(f"━ leads, with its term  ─ follows  ✕ in a lane: ended by a signal\n{marks}".rstrip(), style="dim")
