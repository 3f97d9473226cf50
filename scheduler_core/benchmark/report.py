"""Figures for people: ratios first, since they say most about the scheduler and least about the machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler_core.benchmark.figure import Figure


def render(figures: Sequence[Figure], *, notes: bool = False) -> RenderableType:
    """A table of all figures, and a line that says which goals were missed.

    Parameters: notes, whether each figure's note stands beside it.
    """
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for heading, justify in (("what", "left"), ("figure", "right"), ("", "left"), ("goal", "right"), ("", "left")):
        table.add_column(heading, justify=justify, no_wrap=not notes)  # type: ignore[arg-type]
    if notes:
        table.add_column("how", style="dim")
    for figure in ratios_first(figures):
        row = [escape(figure.says), shown(figure.value), figure.unit, _goal(figure), _verdict(figure)]
        table.add_row(*row, *([escape(figure.note)] if notes else []))
    return Group(table, Text(), _summary(figures))


def ratios_first(figures: Iterable[Figure]) -> list[Figure]:
    """Ratios, then what has a goal, then the rest; each in the order in which it came."""
    return sorted(figures, key=lambda figure: (not figure.is_ratio, figure.met is None))


def shown(value: float) -> str:
    """Three digits that matter, and thousands apart."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"{'≥' if figure.at_least is not None else '≤'} {shown(figure.goal)}"


def _verdict(figure: Figure) -> str:
    if figure.met is None or figure.goal is None:
        return ""
    of_goal = f" ({figure.value / figure.goal:.2f} of the goal)" if figure.goal else ""
    return f"[green]met[/green]{of_goal}" if figure.met else f"[red]missed[/red]{of_goal}"


def _summary(figures: Sequence[Figure]) -> Text:
    held = [figure for figure in figures if figure.met is not None]
    missed = [figure for figure in held if not figure.met]
    if not missed:
        return Text(f"{len(held)} goals, all met")
    said = "; ".join(f"{figure.says}: {shown(figure.value)} {figure.unit}, goal {_goal(figure)}" for figure in missed)
    return Text(f"{len(held)} goals, {len(missed)} missed: {said}")
