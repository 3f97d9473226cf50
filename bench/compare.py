"""Two result files side by side: what the second is, as a multiple of the first."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scheduler_core.benchmark.document import read_figures
from scheduler_core.benchmark.report import ratios_first, shown

NOISE = 0.05
"""Within this two figures are called the same."""


def compare(before: Path, after: Path) -> Table:
    """A table of the figures that both files have."""
    first, second = (
        {figure.key: figure for figure in read_figures(json.loads(file.read_text(encoding="utf-8")))}
        for file in (before, after)
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("what")
    for heading in ("before", "after", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column()
    for figure in ratios_first(figure for figure in second.values() if figure.key in first):
        was = first[figure.key].value
        ratio = figure.value / was if was else None
        says = "" if ratio is None or abs(ratio - 1) < NOISE else "better" if (ratio > 1) == figure.rises else "worse"
        colour = {"better": "green", "worse": "red"}.get(says, "dim")
        told = "-" if ratio is None else f"{ratio:.2f}x"
        now = f"{shown(figure.value)} {figure.unit}"
        table.add_row(figure.says, shown(was), now, told, f"[{colour}]{says}[/{colour}]" if says else "")
    return table


def print_comparison(before: Path, after: Path) -> None:
    """On the terminal."""
    Console().print(compare(before, after))
