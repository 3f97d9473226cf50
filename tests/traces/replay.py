"""A trace played through `tests/model/protocol.py`: each line is a step that the model allows, or is refused.

The model holds few occurrences and few replicas, a trace has a hundred thousand of each. What a run does depends on
nothing but itself and the election; so each run lives in a model world of its own, with one occurrence, and all share
one election. A replica that has ended leaves its place to the one that starts next, as in the model.

Much of what happened leaves no line: that a trust window closed, a session was cut, an answer got lost, a candidate
saw the seat free. Where a line asks for it, the shortest way by such steps of the replicas concerned is taken and
counted (`Replayed.inferred`). So the replay refuses what can't have happened, whatever stayed unseen; it can't tell
whether what stayed unseen did happen. A crash, a fault or an operator's act is never inferred.

Beyond the model, and stated where it is done: one that retries goes on as before its attempt; how many deliveries are
enough is a policy; a promoted standby that lacks the last commits takes back what it lacks (`PROMOTED` lines say so).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from model import protocol as model
from model.invariants import SAFETY
from model.protocol import CODE, NO_NONCE, NOBODY, THE_DEAD, Bounds, Hand, Lease, Phase, Protocol, Stage, Status, World

from scheduler_core.drill.trace import Event, Line, Write

BETWEEN = timedelta(seconds=0.25)
"""For how long a callback's first line may come after the question that allowed it: the process waits for the CPU."""

WAKING = timedelta(seconds=1)
"""The same after a stop: what was asked before it is called after it, once for each stop (docs/failover.md)."""

LOST_CALLS = timedelta(seconds=5)
"""How long after a primary was killed what had been claimed there may still be called: a lease's time, and more."""

MOST_TERMS = 1 << 62
END_OF_TRACE = datetime.max.replace(tzinfo=UTC)

OWNERS = frozenset({Event.MARK, Event.END, Event.RETRY, Event.HAND_BACK})
"""What only the owner of a run tells, under the term in which it got the run."""

WAITING = frozenset({"pending", "queued", "retrying"})

Move = Callable[..., Iterator[model.Step]]


class TraceRefusedError(AssertionError):
    """A line that the model does not allow. The message says which, which step, and why."""

    def __init__(self, number: int, line: Line, why: str, move: Move | None = None) -> None:
        step = "" if move is None else f"; the step {move.__name__} stands for {CODE[move][0]}"  # type: ignore[attr-defined]
        about = " ".join(
            f"{word}" for word in (line.event, line.run or line.by, line.term and f"term {line.term}") if word
        )
        super().__init__(f"line {number}, {about}: {why}{step}")
        self.number = number
        self.line = line


class _NotAllowedError(Exception):
    def __init__(self, why: str, move: Move | None = None) -> None:
        super().__init__(why)
        self.move = move


@dataclass(slots=True)
class Replayed:
    """What was found to be allowed."""

    lines: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    """Steps of the model that lines stood for, by the model's names."""
    inferred: Counter[str] = field(default_factory=Counter)
    """Steps that no line tells of, taken because a later line asks for them."""
    beyond: Counter[str] = field(default_factory=Counter)
    """What the model has no step for."""
    by_event: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Run:
    """One run: its row in the model, and who has it in hand, by place."""

    row: model.Run
    hands: dict[int, Hand] = field(default_factory=dict)
    called: set[int] = field(default_factory=set)
    """Whose callback has told of the attempt."""

    @property
    def is_over(self) -> bool:
        return self.row.status in (Status.ENDED, Status.MISSED) and not self.hands


def replay(lines: Iterable[Line]) -> Replayed:
    """Play all lines. Raises TraceRefusedError at the first that is not allowed."""
    lines = list(lines)
    recorded = {write.name for line in lines for write in line.writes if write.of == "run"}
    player, number = _Player(recorded), 0
    for number, line in enumerate(lines, start=1):
        player.replayed.by_event[line.event.value] += 1
        try:
            if line.event is Event.HISTORY:
                player.finish()
                player = _Player(recorded, player.replayed)
            else:
                player.play(line)
        except _NotAllowedError as error:
            raise TraceRefusedError(number, line, str(error), error.move) from None
    try:
        player.finish()
    except _NotAllowedError as error:
        raise TraceRefusedError(number + 1, Line(END_OF_TRACE, Event.NOTE), str(error), error.move) from None
    player.replayed.lines = number
    return player.replayed


@cache
def _protocol(occurrences: int, replicas: int) -> Protocol:
    return Protocol(Bounds(replicas, occurrences, MOST_TERMS, 0, redis=False, led=False))


class _Player:
    def __init__(self, recorded: set[str], replayed: Replayed | None = None) -> None:
        self.replayed = Replayed() if replayed is None else replayed
        self._recorded = recorded
        self._election = _protocol(0, 0).start()
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._seat: tuple[int, str | None] | None = None
        """The leader's row as the lines have it: term and nonce."""
        self._cursors: dict[str, Any] = {}
        self._runs: dict[str, _Run] = {}
        self._over: set[str] = set()
        self._occurrences: dict[tuple[str, str], str] = {}
        self._closed_at: dict[tuple[int, int], datetime] = {}
        self._lost_since: datetime | None = None
        self._lost_until: datetime | None = None
        self._lost_terms: set[int] = set()
        self._stops: list[tuple[datetime, str | None]] = []
        """When those who were stopped were woken, and who they were."""

    def play(self, line: Line) -> None:
        _PLAYS[line.event](self, line)

    def finish(self) -> None:
        """L2, at the end of a history: what was claimed has ended, or was given back and waits for a leader."""
        for name, run in self._runs.items():
            if run.row.status not in (Status.ENDED, Status.MISSED) and (run.row.owner != NOBODY or run.called):
                raise _NotAllowedError(
                    f"L2: the trace ends, and run {name} is {run.row.status.name} of {self._owner(run)}", model.record
                )

    # Worlds.

    def _world(self, run: _Run | None) -> World:
        if run is None:
            return self._election
        replicas = tuple(
            replica._replace(hands=(run.hands.get(place),)) for place, replica in enumerate(self._election.replicas)
        )
        rows = ((run.row,),)
        return self._election._replace(cursor=1, runs=rows, claims=(None,) * len(replicas), replicas=replicas)

    def _keep(self, line: Line, run: _Run | None, before: World, after: World, *, fault: bool = False) -> None:
        """Have the world as it is after a step, that of the election and that of the run."""
        for invariant, holds in SAFETY.items():
            if not holds(before, after):
                raise _NotAllowedError(f"{invariant.name} breaks: {invariant.value}")
        for place, (was, now) in enumerate(zip(before.replicas, after.replicas, strict=True)):
            if was.session and not now.session and not fault:
                self._break_hands(place)
            if was.trusted and not now.trusted:
                self._closed_at[place, was.term] = line.at
        self._election = after._replace(
            cursor=0,
            runs=(),
            claims=(None,) * len(after.replicas),
            replicas=tuple(replica._replace(hands=()) for replica in after.replicas),
        )
        if run is not None:
            run.row = after.runs[0][0]
            run.hands = {
                place: replica.hands[0] for place, replica in enumerate(after.replicas) if replica.hands[0] is not None
            }

    def _break_hands(self, place: int) -> None:
        for run in self._runs.values():
            if (hand := run.hands.get(place)) is not None:
                run.hands[place] = hand._replace(unbroken=False)

    def _take(
        self,
        line: Line,
        run: _Run | None,
        goal: Move,
        place: int,
        is_it: Callable[[World], bool],
        *,
        unseen: Sequence[tuple[Move, int]] = (),
        why: str,
    ) -> None:
        """Take the step `goal` of the replica at `place` to a world that `is_it`, after as few unseen ones as do."""
        start = self._world(run)
        ways: deque[tuple[World, tuple[tuple[Move, World], ...]]] = deque([(start, ())])
        known = {start}
        while ways:
            world, way = ways.popleft()
            for step in self._steps(goal, world, run, place):
                if is_it(step.after):
                    self._walk(line, run, start, (*way, (goal, step.after)))
                    return
            if len(way) < LONGEST_UNSEEN:
                for move, whose in unseen:
                    for step in self._steps(move, world, run, whose):
                        if step.after not in known:
                            known.add(step.after)
                            ways.append((step.after, (*way, (move, step.after))))
        raise _NotAllowedError(f"{why}; {self._told(run, place)}", goal)

    def _steps(self, move: Move, world: World, run: _Run | None, place: int) -> Iterator[model.Step]:
        known = _protocol(len(world.runs), len(world.replicas))
        if move in (*model.RUNS, *model.RECOVERY):
            assert run is not None
            return move(known, world, place, 0)
        return move(known, world, place)

    def _walk(self, line: Line, run: _Run | None, start: World, way: Sequence[tuple[Move, World]]) -> None:
        before = start
        for number, (move, after) in enumerate(way, start=1):
            self._keep(line, run, before, after)
            before = after
            counts = self.replayed.steps if number == len(way) else self.replayed.inferred
            counts[move.__name__] += 1  # type: ignore[attr-defined]

    def _told(self, run: _Run | None, place: int) -> str:
        me, row = self._election.replicas[place], self._election.row
        words = f"the replica is {me.phase.name} in term {me.term}, trust {'open' if me.trusted else 'closed'}"
        seat = f"the row holds term {row.term}{'' if row.nonce else ', free'}"
        if run is None:
            return f"{words}; {seat}"
        hand = run.hands.get(place)
        held = "nothing of it" if hand is None else f"it as {hand.stage.name} of term {hand.term}"
        state = f"the run is {run.row.status.name}, of {self._owner(run)}, term {run.row.term}"
        return f"{words} and holds {held}; {seat}; {state}"

    def _owner(self, run: _Run) -> str:
        return {NOBODY: "nobody", THE_DEAD: "the dead"}.get(run.row.owner) or self._name(run.row.owner)

    def _name(self, place: int) -> str:
        return next((name for name, its in self._places.items() if its == place), f"number {place}")

    def _place(self, by: str | None) -> int:
        """Which of the model's replicas this is. One that was not seen before has just started."""
        if by is None:
            raise _NotAllowedError("the line does not say who did it")
        if by not in self._places:
            if self._free:
                self._places[by] = self._free.pop()
            else:
                self._places[by] = len(self._election.replicas)
                idle = model.Replica(Phase.DOWN, False, NO_NONCE, False, 0, NO_NONCE, None, ())
                replicas = (*self._election.replicas, idle)
                self._election = self._election._replace(replicas=replicas, claims=(None,) * len(replicas))
        return self._places[by]

    # The election.

    def term(self, line: Line) -> None:
        self._check_seat(line)
        place, term = self._place(line.by), line.term or 0
        if term <= self._election.row.term:
            raise _NotAllowedError(f"I1: the last term was {self._election.row.term}", model.claim_term)
        if term > self._election.row.term + 1:
            # The lease carries a greater term than a promoted standby knows: it is proposed, and the next one taken.
            self._election = self._election._replace(lease=Lease(NO_NONCE, term - 1))
        self._take(
            line, None, model.claim_term, place,
            lambda world: world.replicas[place].phase is Phase.LEADING and world.row.term == term,
            unseen=[(move, place) for move in _TO_STAND], why="nobody can have claimed this term",
        )  # fmt: skip

    def seat(self, line: Line) -> None:
        self._check_seat(line)
        place = self._leading(line)
        nonce = self._election.row.nonce
        self._take(
            line, None, model.reclaim, place,
            lambda world: world.replicas[place].phase is Phase.LEADING and world.row.nonce != nonce,
            unseen=[(model.cut_session, place), (model.notice_cut, place)], why="it can't have had its seat again",
        )  # fmt: skip

    def resign(self, line: Line) -> None:
        self._check_seat(line)
        place = self._leading(line)
        self._take(
            line, None, model.resign, place, lambda world: world.row.nonce == NO_NONCE, why="it had no seat to free"
        )

    def _leading(self, line: Line) -> int:
        if line.term != self._election.row.term:
            raise _NotAllowedError(f"the last term was {self._election.row.term}")
        return self._place(line.by)

    def _check_seat(self, line: Line) -> None:
        write = next((write for write in line.writes if write.of == "leader"), None)
        if write is None or write.was is None or write.now is None:
            return
        was, now = ((held["term"], held["nonce"]) for held in (write.was, write.now))
        if self._seat is not None and was != self._seat:
            raise _NotAllowedError(f"it overwrote term {was[0]}, and the row held term {self._seat[0]}")
        if self._seat is None:
            self._election = self._election._replace(row=model.LeaderRow(was[0], NO_NONCE))
        self._seat = now

    def open(self, line: Line) -> None:
        place = self._place(line.by)
        if not model.trusts(self._election.replicas[place], line.term or 0):
            self._take(
                line, None, model.beat, place, lambda world: model.trusts(world.replicas[place], line.term or 0),
                why="nothing can have told it that its term stands",
            )  # fmt: skip

    def close(self, line: Line) -> None:
        place = self._place(line.by)
        if self._election.replicas[place].trusted:
            self._take(line, None, model.close_window, place, lambda world: True, why="its window was closed")

    def start(self, line: Line) -> None:
        place, term = self._place(line.by), line.term or 0
        if term not in self._lost_terms and not model.trusts(self._election.replicas[place], term):
            raise _NotAllowedError(f"I7: {self._told(None, place)}", model.begin)
        self.replayed.steps["begin"] += 1

    # Claims.

    def claim(self, line: Line) -> None:
        place, term = self._place(line.by), line.term or 0
        me = self._election.replicas[place]
        if not model.leads(self._election, me) or me.term != term:
            raise _NotAllowedError(f"I2: {self._told(None, place)}", model.evaluate_fence)
        job, *runs = line.writes
        self._check_cursor(job)
        for write in sorted(runs, key=lambda write: str((write.now or {}).get("scheduled_for"))):
            self._claim_one(line, place, write)

    def _check_cursor(self, job: Write) -> None:
        was, now = (job.was or {}).get("next_run"), (job.now or {}).get("next_run")
        known = self._cursors.get(job.name, was)
        if was != known:
            raise _NotAllowedError(f"I4: it moved the cursor from {was}, and that stood at {known}", model.commit)
        if was is not None and now is not None and datetime.fromisoformat(now) <= datetime.fromisoformat(was):
            raise _NotAllowedError(f"I4: it moved the cursor back from {was} to {now}", model.commit)
        self._cursors[job.name] = now

    def _claim_one(self, line: Line, place: int, write: Write) -> None:
        row = write.now or {}
        self._add_occurrence(write)
        if row["term"] != line.term:
            raise _NotAllowedError(f"run {write.name} bears term {row['term']}", model.commit)
        # A row that counts stands for several occurrences; of one that counts a single one the model makes a run.
        passes = int(row.get("missed_count") or 1)
        replicas = tuple(replica._replace(hands=(None,) * passes) for replica in self._election.replicas)
        world = self._election._replace(
            cursor=0, runs=((),) * passes, claims=(None,) * len(replicas), replicas=replicas
        )
        known = _protocol(passes, len(replicas))
        fenced = [step.after for step in model.evaluate_fence(known, world, place)][-1]
        after = next(iter(model.commit(known, fenced, place))).after
        for invariant, holds in SAFETY.items():
            if not holds(fenced, after):
                raise _NotAllowedError(f"{invariant.name} breaks: {invariant.value}")
        self.replayed.steps.update(("evaluate_fence", "commit"))
        run = _Run(after.runs[passes - 1][0])
        if row["status"] not in WAITING:
            run.row = run.row._replace(status=Status.MISSED, owner=NOBODY)
        elif row["instance_id"] is None:
            run.row = run.row._replace(owner=NOBODY)  # Nobody here can call it: whoever can adopts it.
        elif (hand := after.replicas[place].hands[passes - 1]) is not None:
            run.hands[place] = hand
        self._add(write.name, run)

    def _add_occurrence(self, write: Write) -> None:
        row = write.now or {}
        occurrence = (row["job_id"], row["scheduled_for"])
        if occurrence in self._occurrences:
            raise _NotAllowedError(f"I3: {occurrence[0]} at {occurrence[1]} has a row", model.commit)
        self._occurrences[occurrence] = write.name

    def _add(self, name: str, run: _Run) -> None:
        if run.is_over:
            self._over.add(name)
        else:
            self._runs[name] = run

    # Runs.

    def _run(self, line: Line, move: Move) -> _Run:
        run = self._runs.get(line.run or "")
        if run is None:
            state = "is over" if line.run in self._over else "was never claimed"
            raise _NotAllowedError(f"the run {state}", move)
        if line.event in OWNERS and line.term != run.row.term:
            raise _NotAllowedError(f"it is told under another term; {self._told(run, self._place(line.by))}", move)
        for write in line.writes:
            was = write.was or {}
            owner = NOBODY if was.get("instance_id") is None else self._places.get(was["instance_id"], THE_DEAD)
            is_same = owner == run.row.owner and (owner == NOBODY or was.get("term") == run.row.term)
            if not is_same or (run.row.status is Status.RUNNING) is not (was.get("status") == "running"):
                raise _NotAllowedError(
                    f"it overwrote a run that was {was.get('status')} of {was.get('instance_id')}, "
                    f"term {was.get('term')}; {self._told(run, self._place(line.by))}",
                    move,
                )
        return run

    def _settle(self, line: Line, run: _Run) -> None:
        if run.is_over and line.run is not None:
            del self._runs[line.run]
            self._over.add(line.run)

    def begin(self, line: Line) -> None:
        run = self._runs.get(line.run or "")
        if self._is_lost(line, run):
            self.replayed.beyond["called, and the promoted standby had not heard of it"] += 1
            return
        run, place = self._run(line, model.begin), self._place(line.by)
        hand = run.hands.get(place)
        if hand is not None and hand.term != line.term:
            raise _NotAllowedError(
                f"it was called under a term that it was not claimed under; {self._told(run, place)}"
            )
        if hand is not None and hand.stage is not Stage.TIMER and place not in run.called:
            is_trusted = model.trusts(self._election.replicas[place], hand.term)
            if not is_trusted and not self._was_asked_before(line, place, hand.term):
                raise _NotAllowedError(f"I7: it was called after its window; {self._told(run, place)}", model.begin)
            run.called.add(place)  # The record told first, as it does of what must not be called twice.
            self.replayed.steps["begin"] += 1
            return
        if hand is not None and hand.stage is Stage.TIMER and self._was_asked_before(line, place, hand.term):
            run.hands[place] = Hand(Stage.BEGUN, hand.term, unbroken=False)
            self.replayed.steps["begin"] += 1
        else:
            self._begin(line, run, place)
        run.called.add(place)

    def _begin(self, line: Line, run: _Run, place: int) -> None:
        self._take(
            line, run, model.begin, place, lambda world: _stage(world, place) is Stage.BEGUN,
            unseen=[(model.beat, place)], why="I7: it can't have begun",
        )  # fmt: skip

    def _is_lost(self, line: Line, run: _Run | None) -> bool:
        """Whether a promoted standby had not heard of what this call tells of."""
        if line.term in self._lost_terms:
            return True
        is_in_time = self._lost_until is not None and line.at <= self._lost_until + LOST_CALLS
        return run is None and line.run not in self._recorded and is_in_time

    def _was_asked_before(self, line: Line, place: int, term: int) -> bool:
        """Whether its window closed just now, or it was stopped, between the question and the callback's first line."""
        if model.trusts(self._election.replicas[place], term):
            return False
        closed_at = self._closed_at.get((place, term))
        if closed_at is not None and line.at - closed_at <= BETWEEN:
            self.replayed.beyond["its window closed between the question and the call"] += 1
            return True
        for stop in self._stops:
            woke, whom = stop
            if whom == line.by and woke - BETWEEN <= line.at <= woke + WAKING:
                self._stops.remove(stop)
                self.replayed.beyond["begun on waking from a stop"] += 1
                return True
        return False

    def mark(self, line: Line) -> None:
        run, place = self._run(line, model.mark), self._place(line.by)
        hand = run.hands.get(place)
        if (
            hand is not None
            and hand.stage is Stage.TIMER
            and not model.trusts(self._election.replicas[place], hand.term)
        ):
            # The question came before the statement, which may take its time; before the call it is asked again.
            run.hands[place] = Hand(Stage.BEGUN, hand.term, unbroken=False)
            self.replayed.inferred["begin, before its window closed"] += 1
        self._begun(line, run, place)
        self._take(
            line, run, model.mark, place, lambda world: _stage(world, place) is Stage.MARKED, why="it is not its own"
        )

    def _begun(self, line: Line, run: _Run, place: int) -> None:
        """Of what the record tells before the callback does, or where nothing is called, no line says that it began."""
        hand = run.hands.get(place)
        if hand is not None and hand.stage is Stage.TIMER and not self._was_asked_before(line, place, hand.term):
            self._begin(line, run, place)
            self.replayed.inferred["begin"] += 1
            self.replayed.steps["begin"] -= 1
        elif hand is not None and hand.stage is Stage.TIMER:
            run.hands[place] = Hand(Stage.BEGUN, hand.term, unbroken=False)

    def end(self, line: Line) -> None:
        run, place = self._run(line, model.record), self._place(line.by)
        self._record(line, run, place)
        self._settle(line, run)

    def _record(self, line: Line, run: _Run, place: int) -> None:
        if line.note == "succeeded" and place not in run.called:
            raise _NotAllowedError("it succeeded, and its callback was never called", model.record)
        self._begun(line, run, place)
        self._take(
            line,
            run,
            model.record,
            place,
            lambda world: world.runs[0][0].status is Status.ENDED,
            why="it is not its own",
        )
        run.called.discard(place)

    def retry(self, line: Line) -> None:
        """The model knows one attempt: what waits for its next one is as it was before the one that ended."""
        run, place = self._run(line, model.record), self._place(line.by)
        owner, term, deliveries = run.row.owner, run.row.term, run.row.deliveries
        self._record(line, run, place)
        run.row = model.Run(Status.PENDING, owner, term, deliveries=deliveries)
        run.hands[place] = Hand(Stage.TIMER, term)

    def hand_back(self, line: Line) -> None:
        run, place = self._run(line, model.begin), self._place(line.by)
        if place not in run.hands and run.row.owner == place:
            # Its claim was never answered, or it does not know the run any more.
            run.row = run.row._replace(owner=NOBODY)
            self.replayed.beyond["a run that was given back by who had lost it"] += 1
            return
        hand = run.hands.get(place)
        if hand is not None and hand.stage is Stage.MARKED and place not in run.called:
            # Its start was durable, and the last question before the call was answered with no: nothing was called.
            del run.hands[place]
            run.row = run.row._replace(status=Status.PENDING, owner=NOBODY)
            self.replayed.beyond["a durable start that was taken back before its call"] += 1
            return
        self._take(
            line, run, model.begin, place, lambda world: _stage(world, place) is None,
            unseen=[(model.close_window, place)], why="it has begun, and is not given back",
        )  # fmt: skip

    def late(self, line: Line) -> None:
        run = self._runs.get(line.run or "")
        if run is not None and (place := self._places.get(line.by or "")) is not None:
            run.hands.pop(place, None)
            run.called.discard(place)
            self._settle(line, run)

    # Recovery.

    def adopt(self, line: Line) -> None:
        run, place = self._run(line, model.adopt), self._place(line.by)
        self._check_fence(line, place, model.adopt)
        hand = run.hands.get(place)
        is_unanswered = hand is not None and hand.stage is Stage.TIMER and run.row.owner in (place, NOBODY)
        if is_unanswered or (hand is not None and self._lost_since is not None):
            # The answer to its claim got lost, and with it the run; or a promoted standby knows the run from before.
            del run.hands[place]
            run.called.discard(place)
            self.replayed.inferred["commit, the reply is lost" if is_unanswered else "a promotion took it back"] += 1
        self._take(
            line, run, model.adopt, place, lambda world: _stage(world, place) is Stage.TIMER,
            unseen=self._unseen_of_owner(run), why="somebody alive may still begin it, or has",
        )  # fmt: skip

    def reap(self, line: Line) -> None:
        run, place = self._run(line, model.reap), self._place(line.by)
        self._check_fence(line, place, model.reap)
        self._take(
            line, run, model.reap, place, lambda world: world.runs[0][0].status is not Status.RUNNING,
            unseen=self._unseen_of_owner(run), why="its owner lives, or nobody had begun it",
        )  # fmt: skip
        self._as_written(line, run)

    def forgotten(self, line: Line) -> None:
        run, place = self._run(line, model.reap), self._place(line.by)
        if self._lost_since is None or place != run.row.owner:
            raise _NotAllowedError("nothing was forgotten: no standby that lacks anything was promoted", model.reap)
        self.replayed.beyond["an attempt whose end a promoted standby had not heard of"] += 1
        run.hands.pop(place, None)
        run.called.discard(place)
        run.row = run.row._replace(owner=NOBODY)
        self._as_written(line, run)

    def _as_written(self, line: Line, run: _Run) -> None:
        """Whether a delivery more is one too many is the policy's to say, and not the model's."""
        is_open = (line.writes[0].now or {})["status"] in WAITING
        run.row = run.row._replace(status=Status.PENDING if is_open else Status.ENDED)
        self._settle(line, run)

    def _check_fence(self, line: Line, place: int, move: Move) -> None:
        if not model.leads(self._election, self._election.replicas[place]) or line.term != self._election.row.term:
            raise _NotAllowedError(f"I2: {self._told(None, place)}", move)

    def _unseen_of_owner(self, run: _Run) -> list[tuple[Move, int]]:
        owner = run.row.owner
        return [] if owner in (NOBODY, THE_DEAD) else [(model.close_window, owner), (model.cut_session, owner)]

    # What is not the replicas'.

    def operator(self, line: Line) -> None:
        for write in line.writes:
            if write.of == "job":
                self._cursors[write.name] = (write.now or {}).get("next_run")
            elif write.was is None:
                self._insert(line, write)
            elif (run := self._runs.get(write.name)) is not None and (write.now or {}).get("status") not in WAITING:
                # A cancel, or a row that was removed: who waited for it drops it.
                run.row = run.row._replace(status=Status.ENDED, owner=NOBODY)
                run.hands = {place: hand for place, hand in run.hands.items() if hand.stage is not Stage.TIMER}
                self.replayed.beyond["a run that an operator ended"] += 1
                self._settle(line, run)

    def _insert(self, line: Line, write: Write) -> None:
        self._add_occurrence(write)
        row = write.now or {}
        if row["status"] in WAITING:
            world = self._election._replace(
                cursor=0,
                runs=((),),
                replicas=tuple(replica._replace(hands=(None,)) for replica in self._election.replicas),
            )
            after = next(iter(model.insert_run(_protocol(1, len(world.replicas)), world))).after
            self.replayed.steps["insert_run"] += 1
            self._runs[write.name] = _Run(after.runs[0][0])
        else:
            self._over.add(write.name)

    def exit(self, line: Line) -> None:
        place = self._places.pop(line.by or "", None)
        if place is None:
            return
        living = self._election
        for name, run in list(self._runs.items()):
            self._crash(line, run, place)
            self._election = living  # Of one crash each run hears, and the election last.
            run.called.discard(place)
            if run.is_over:
                del self._runs[name]
                self._over.add(name)
        self._crash(line, None, place)
        self.replayed.steps["crash"] += 1
        self._free.append(place)

    def _crash(self, line: Line, run: _Run | None, place: int) -> None:
        world = self._world(run)
        for step in self._steps(model.crash, world, run, place):
            self._keep(line, run, world, step.after, fault=True)

    def fault(self, line: Line) -> None:
        if line.until is not None and any(kind.startswith("stop") for kind in (line.note or "").split(" + ")):
            self._stops.append((line.until, line.by))

    def promoted(self, line: Line) -> None:
        self._lost_since, self._lost_until = line.since, line.until or line.at
        self._lost_terms |= set(line.terms)
        self.replayed.beyond["a promoted standby that lacks the last commits"] += 1

    def note(self, line: Line) -> None:
        for write in line.writes:
            if write.of == "leader":
                self._check_seat(line)


_TO_STAND: tuple[Move, ...] = (
    model.reconnect,
    model.notice_cut,
    model.beat,
    model.reclaim,
    model.read_again,
    model.see_vacancy,
    model.take_lease,
    model.take_witness,
    model.cut_session,
)
"""What no line tells of on the way to a term."""

LONGEST_UNSEEN = 8

_PLAYS: Mapping[Event, Callable[[_Player, Line], None]] = {
    event: getattr(_Player, event.value) for event in Event if event is not Event.HISTORY
}


def _stage(world: World, place: int) -> Stage | None:
    hand = world.replicas[place].hands[0]
    return None if hand is None else hand.stage
