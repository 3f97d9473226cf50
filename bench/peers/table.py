"""The figures as rows: values, their ratios to ours, and the reasons where there is none: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Row = dict[str, Any]

COLUMNS = (
    ("", "scheduler"),
    ("all due at once", "fires/s"),
    ("", "ours ×"),
    ("100/s", "p50 ms"),
    ("", "p99 ms"),
    ("", "p99 / ours"),
    ("1,000/s", "p50 ms"),
    ("", "p99 ms"),
    ("kill -9", "takeover s"),
    ("", "after due s"),
    ("", "/ ours"),
    ("ticks since (before)", "lost"),
    ("", "twice"),
)

RATIOS = {
    "throughput": ("throughput", "fires_per_second"),
    "lateness_100_p50": ("lateness_100", "p50_ms"),
    "lateness_100_p99": ("lateness_100", "p99_ms"),
    "lateness_1000_p50": ("lateness_1000", "p50_ms"),
    "lateness_1000_p99": ("lateness_1000", "p99_ms"),
    "takeover": ("takeover", "first_s"),
}
"""name: measure and its figure"""


def no(reason: str) -> Row:
    """A figure that there is not."""
    return {"no": reason}


def kills(found: Sequence[Mapping[str, Any]]) -> Row:
    """Several kills as one: the middle one's time, and what all of them cost.

    Where most ticks fired twice while both processes lived, nobody took over from anybody.
    """
    firsts = [kill["first_s"] for kill in found]
    fired = [first for first in firsts if first is not None]
    after_due = [round(kill["first_s"] - kill["next_due_s"], 3) for kill in found if kill["first_s"] is not None]
    due, doubled = (sum(kill["before"][what] for kill in found) for what in ("due", "doubled"))
    taken_over = len(fired) == len(firsts) and doubled * 2 < due
    return {
        "kills": len(found),
        "both_fire": doubled * 2 >= due > 0,
        "first_s": round(median(fired), 3) if taken_over else None,
        "max_s": max(fired) if taken_over else None,
        "after_due_s": median(after_due) if taken_over else None,
        "waited_s": max(kill["waited_s"] for kill in found),
        **{
            f"{what}_{when}": sum(kill[when][what] for kill in found)
            for when in ("before", "after")
            for what in ("due", "lost", "doubled")
        },
        "each": list(found),
    }


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Each row with `ratios` to the first, ours; above 1: ours is better. None where either has no figure."""
    ours = rows[0]
    return [
        row
        | {
            "ratios": {
                name: _ratio(_get(row, *path), _get(ours, *path), more_is_better=name == "throughput")
                for name, path in RATIOS.items()
            }
        }
        for row in rows
    ]


def text(rows: Sequence[Row]) -> str:
    """Rows with ratios as a table, and beneath it what is to be known."""
    lines = [*zip(*COLUMNS, strict=True), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    table = ["  ".join(_pad(line[n], widths[n], left=n == 0) for n in range(len(COLUMNS))).rstrip() for line in lines]
    return "\n".join([*table, "", *_notes(rows)])


def _cells(row: Row) -> tuple[str, ...]:
    ratios = row["ratios"]
    hundred, thousand, takeover = row["lateness_100"], row["lateness_1000"], row["takeover"]
    return (
        f"{row['title']} {row['version']}",
        _number(_get(row, "throughput", "fires_per_second"), 0),
        _number(ratios["throughput"], 1),
        _number(_get(row, "lateness_100", "p50_ms"), 2),
        _late(hundred, "p99_ms"),
        _number(ratios["lateness_100_p99"], 1),
        _number(_get(row, "lateness_1000", "p50_ms"), 2),
        _late(thousand, "p99_ms"),
        _takeover(takeover),
        _number(_get(row, "takeover", "after_due_s"), 3),
        _number(ratios["takeover"], 1),
        _share(takeover, "lost"),
        _share(takeover, "doubled"),
    )


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    for row in rows:
        notes.append(f"{row['title']}: recorded: {row['recorded']}")
        for name in ("throughput", "lateness_100", "lateness_1000", "takeover"):
            if "no" in row[name]:
                notes.append(f"  {name.replace('_', ' at ')}: no: {row[name]['no']}")
        notes += [f"  {note}" for note in row["notes"]]
    return notes


def _get(row: Row, measure: str, figure: str) -> float | None:
    value = row[measure].get(figure)
    return None if value is None else float(value)


def _ratio(theirs: float | None, ours: float | None, *, more_is_better: bool) -> float | None:
    if not theirs or not ours:
        return None
    return round(ours / theirs if more_is_better else theirs / ours, 2)


def _number(value: float | None, digits: int) -> str:
    return "no" if value is None else f"{value:,.{digits}f}"


def _late(figure: Row, name: str) -> str:
    """Marked where not every job fired within the wait."""
    value = figure.get(name)
    if value is None:
        return "no"
    return _number(value, 2) + ("" if figure["fired"] >= figure["due"] else f" ({figure['fired']}/{figure['due']})")


def _takeover(figure: Row) -> str:
    if "no" in figure:
        return "no"
    if figure["both_fire"]:
        return "both fire"
    return f"> {figure['waited_s']:.0f}" if figure["first_s"] is None else _number(figure["first_s"], 2)


def _share(figure: Row, what: str) -> str:
    """Of the ticks since the kill; in brackets those before it, if there were any."""
    if "no" in figure:
        return "no"
    before = f" ({figure[f'{what}_before']}/{figure['due_before']})" if figure[f"{what}_before"] else ""
    return f"{figure[f'{what}_after']}/{figure['due_after']}{before}"


def _pad(cell: str, width: int, *, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
