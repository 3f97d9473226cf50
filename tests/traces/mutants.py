"""What may happen to one line of a trace: dropped, doubled, swapped with the next of its row, of another term."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scheduler_core.drill.trace import Line, Write

Lines = Sequence[Line]
Mutant = Callable[[Lines, int], Lines | None]
"""Parameters: lines, and the place of the one that is hit. None: it can't be."""


def dropped(lines: Lines, place: int) -> Lines:
    return [*lines[:place], *lines[place + 1 :]]


def doubled(lines: Lines, place: int) -> Lines:
    return [*lines[: place + 1], *lines[place:]]


def swapped(lines: Lines, place: int) -> Lines | None:
    """With the next line that is about the same row."""
    mine = _rows(lines[place])
    later = next((n for n in range(place + 1, len(lines)) if mine & _rows(lines[n])), None)
    if later is None:
        return None
    changed = list(lines)
    changed[place], changed[later] = lines[later], lines[place]
    return changed


def of_another_term(lines: Lines, place: int) -> Lines | None:
    """In the line and in what it wrote."""
    line = lines[place]
    if line.term is None:
        return None
    other = line.term + 1 if line.term == 1 else line.term - 1
    writes = tuple(_under(write, other) for write in line.writes)
    return [*lines[:place], replace(line, term=other, writes=writes), *lines[place + 1 :]]


def _under(write: Write, term: int) -> Write:
    held: dict[str, Any] = dict(write.now or {})
    return replace(write, now={**held, "term": term}) if held.get("term") is not None else write


def _rows(line: Line) -> set[tuple[str, str]]:
    rows = {(write.of, write.name) for write in line.writes}
    return rows | ({("run", line.run)} if line.run else set())


MUTANTS: Mapping[str, Mutant] = {
    function.__name__: function for function in (dropped, doubled, swapped, of_another_term)
}
