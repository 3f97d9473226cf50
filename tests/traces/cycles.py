"""Could the transactions of a trace have come one after another? A search for cycles among what they read and wrote.

After Adya ("Weak Consistency", 1999): transactions are nodes, and edges say who must come before whom.

- *ww*: one overwrote the version that another wrote. Each write names the writer of the version before it (Postgres's
  `xmin`), so the order of versions is Postgres's own, and not that of the lines.
- *wr*: what is fenced (claims, adoptions, reapings) read the version of the leader's row that its line names, which
  carries the line's term.
- *rw*: it came before whoever overwrote that version of the leader's row.
- *time*: of two that touched one row the line that stands first came first. A row's lock is held until its holder has
  committed, so of honest lines none stands before one that it depends on.

A cycle is a history that no order explains: a claim under a term that had been succeeded when it moved the cursor, an
outcome that overwrote the adoption that took the run away. This is all that the protocol needs: whatever is decided
here is decided by a row that the deciding statement locks, so reads without a lock (what is due) may be stale, and are
no edges. Reported besides, because they are no order of transactions at all: a version that two overwrote (a lost
update), one that nobody wrote, and a value that was read and not written so.

Operators' writes, outcomes and claims are nodes alike. The callbacks are not: a call is no transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler_core.drill.trace import Event, Line, Write

FENCED = frozenset({Event.CLAIM, Event.ADOPT, Event.REAP})
SEATS = frozenset({Event.TERM, Event.SEAT, Event.RESIGN, Event.NOTE})

Object = tuple[str, str]


class NotSerializableError(AssertionError):
    """No order of the transactions explains the trace."""


@dataclass(slots=True)
class Graph:
    """Who must come before whom, and why."""

    edges: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, before: str, after: str, kind: str, why: str) -> None:
        if before != after and after not in self.edges[before]:
            self.edges[before][after] = f"{kind}: {why}"
            self.counts[kind] += 1

    def cycle(self) -> list[tuple[str, str]]:
        """One cycle, as its transactions, each with why it comes before the next; empty if there is none."""
        done: set[str] = set()
        for root in list(self.edges):
            if root not in done and (found := self._walk(root, done)):
                return found
        return []

    def _walk(self, root: str, done: set[str]) -> list[tuple[str, str]]:
        path, waiting = [root], [iter(self.edges.get(root, ()))]
        on_path = {root: 0}
        while path:
            following = next(waiting[-1], None)
            if following is None:
                done.add(path[-1])
                del on_path[path.pop()]
                waiting.pop()
            elif following in on_path:
                ring = path[on_path[following] :]
                return [(tx, self.edges[tx][after]) for tx, after in zip(ring, [*ring[1:], following], strict=True)]
            elif following not in done:
                on_path[following] = len(path)
                path.append(following)
                waiting.append(iter(self.edges.get(following, ())))
        return []


def check(lines: Iterable[Line]) -> Graph:
    """Build the graph of each history and search it. Raises NotSerializableError; returns the last one's graph."""
    graph, history = Graph(), []
    for number, line in enumerate(lines, start=1):
        if line.event is Event.HISTORY:
            graph, history = _checked(history), []
        else:
            history.append((number, line))
    return _checked(history) if history else graph


def _checked(history: Sequence[tuple[int, Line]]) -> Graph:
    graph = _Reading(history).graph
    if ring := graph.cycle():
        told = "\n".join(f"  transaction {tx} before the next, {why}" for tx, why in ring)
        raise NotSerializableError(f"a cycle of {len(ring)}:\n{told}")
    return graph


class _Reading:
    """Reads the lines into a graph."""

    def __init__(self, history: Sequence[tuple[int, Line]]) -> None:
        self.graph = Graph()
        self._touched: dict[Object, tuple[int, str]] = {}
        """Who touched a row last, by the lines."""
        self._overwritten: dict[tuple[Object, str], tuple[int, str]] = {}
        self._values: dict[tuple[Object, str], Write] = {}
        """By row and writer: the version that the transaction left."""
        self._runs: set[Object] = set()
        self._term_of: dict[str, int] = {}
        for number, line in history:
            for write in line.writes:
                self._take_down(number, line, write)
        for number, line in history:
            self._read_fence(number, line)
            for write in line.writes:
                self._order(number, line, write)

    def _take_down(self, number: int, line: Line, write: Write) -> None:
        row, tx = (write.of, write.name), _tx(number, line)
        is_first = write.over is None
        if is_first and row in self._runs:
            raise NotSerializableError(f"line {number}: {write.of} {write.name} is there already")
        if is_first:
            self._runs.add(row)
        version = (row, write.over or "")
        if write.over is not None and write.over != tx:
            if version in self._overwritten:
                raise NotSerializableError(
                    f"line {number}: transaction {tx} overwrote the version of {write.of} {write.name} that "
                    f"transaction {write.over} wrote, and so did {self._overwritten[version][1]}: one is lost"
                )
            self._overwritten[version] = (number, tx)
        self._values[row, tx] = write
        if write.of == "leader" and write.now is not None:
            self._term_of[tx] = write.now["term"]

    def _order(self, number: int, line: Line, write: Write) -> None:
        row, tx = (write.of, write.name), _tx(number, line)
        about = f"line {number} ({line.event}) on {write.of} {write.name}"
        if write.over is not None:
            self._check_value(number, line.event, write, row, tx)
            self.graph.add(write.over, tx, "ww", about)
        self._touch(number, tx, row, about)

    def _check_value(self, number: int, event: Event, write: Write, row: Object, tx: str) -> None:
        before = None if write.over in (None, tx) else self._values.get((row, write.over or ""))
        if before is None:
            # A job's row is written by outcomes too, which leave what is looked at here as it was.
            if write.of == "run" and write.over != tx:
                raise NotSerializableError(
                    f"line {number}: run {write.name} was overwritten as transaction {write.over} left it, "
                    "and no line tells of that"
                )
            return
        if write.of == "run" and event not in FENCED and _term(write.now) != _term(write.was):
            raise NotSerializableError(
                f"line {number}: run {write.name} has another term, and only an adoption, which is fenced, gives it one"
            )
        if before.now != write.was:
            raise NotSerializableError(
                f"line {number}: transaction {tx} read {_differing(write.was, before.now)} of {write.of} {write.name}, "
                f"and transaction {write.over} wrote {_differing(before.now, write.was)}"
            )

    def _read_fence(self, number: int, line: Line) -> None:
        if line.event not in FENCED or line.fence is None:
            return
        tx, leader = _tx(number, line), ("leader", "leader")
        about = f"line {number} ({line.event}) under term {line.term}"
        carried = self._term_of.get(line.fence)
        if carried is not None and carried != line.term:
            raise NotSerializableError(f"{about} read the version of the leader's row that carries term {carried}")
        self.graph.add(line.fence, tx, "wr", about)
        if (after := self._overwritten.get((leader, line.fence))) is not None:
            self.graph.add(tx, after[1], "rw", about)
        for write in line.writes:
            held = write.now or {}
            if write.of == "run" and line.event is not Event.REAP and held.get("term") != line.term:
                raise NotSerializableError(f"{about} wrote run {write.name} under term {held.get('term')}")
        self._touch(number, tx, leader, about)

    def _touch(self, number: int, tx: str, row: Object, about: str) -> None:
        last = self._touched.get(row)
        if last is not None and not (row[0] == "leader" and last[1] == tx):
            self.graph.add(last[1], tx, "time", f"line {last[0]} stands before {about}")
        self._touched[row] = (number, tx)


def _tx(number: int, line: Line) -> str:
    if line.tx is None:
        raise NotSerializableError(f"line {number} writes, and names no transaction")
    return line.tx


def _term(held: Any) -> Any:
    return (held or {}).get("term")


def _differing(one: Any, other: Any) -> str:
    one, other = one or {}, other or {}
    return ", ".join(f"{name} {value!r}" for name, value in one.items() if other.get(name) != value)


def transactions(lines: Iterable[Line]) -> Iterator[str]:
    """Each transaction that wrote something, once."""
    yield from dict.fromkeys(line.tx for line in lines if line.tx is not None and line.writes)
