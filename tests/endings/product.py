"""The cases, and what each must come to."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from endings.catalogue import ENDS, KILLERS, KINDS, LIMITED, ONLY_ASYNC, PAUSE_SECONDS, WHENS

PLACES = ("local", "replicas", "process", "dask", "ManualScheduler")
DELIVERIES = ("at_least_once", "at_most_once")
LOCKS = (False, True)

MAX_RETRIES = 1
MOST_DELIVERIES = 3
MOST_CALLS = 4


@dataclass(frozen=True, slots=True)
class Case:
    """One ending, in one place."""

    ending: str
    kind: str
    place: str
    when: str
    delivery: str
    locks: bool

    @property
    def job_id(self) -> str:
        lock = "with lock" if self.locks else "without"
        return f"{self.ending}, {self.kind}, {self.when}, {self.delivery}, {lock}"

    @property
    def kills(self) -> bool:
        return self.ending in KILLERS

    @property
    def occurrences(self) -> int:
        """Of its job: the second one shows that the first has left nothing behind."""
        return 1 if self.kills else 2


@dataclass(frozen=True, slots=True)
class Expected:
    """What one occurrence comes to. `most_calls` None: called as often as it was attempted."""

    status: str
    attempts: tuple[str, ...]
    """The outcome of each, in order, those that were lost included."""
    error_type: str | None = None
    reason: str | None = None
    most_deliveries: int = 0
    most_calls: int | None = None

    @property
    def words(self) -> str:
        """For the page."""
        if self.status == "succeeded":
            return "succeeded"
        said = f"{self.status}{f' / {self.reason}' if self.reason else ''}"
        most = self.most_calls or 0
        calls = f"at most {most} calls" if most > 1 else f"{len(self.attempts)} × called"
        return f"{said}: {self.error_type}, {calls}"


SUCCEEDED = Expected("succeeded", ("succeeded",))


def failed(error_type: str, outcome: str = "failed") -> Expected:
    """Like any failure: tried again, then the run has failed."""
    return Expected("failed", (outcome,) * (MAX_RETRIES + 1), error_type)


ERROR_TYPES = {
    "raises an Exception": "ValueError",
    "raises StopIteration": "StopIteration",
    "raises a BaseException": "Base",
    "raises a PanicException": "PanicException",
    "raises GeneratorExit": "GeneratorExit",
    "raises SystemExit": "SystemExit",
    "raises KeyboardInterrupt": "KeyboardInterrupt",
    "raises CancelledError": "CancelledError",
    "awaits a cancelled child": "CancelledError",
    "has a CancelledError out of a thread": "CancelledError",
    "cancels its own task": "CancelledError",
    "leaves a cancel of its own task behind and raises": "ValueError",
    "raises a group of Exception": "ExceptionGroup",
    "raises what has no text": "BadText",
    "raises what exits for a text": "BadText",
    "raises what interrupts for a text": "BadText",
    "raises what has no name": "Nameless",
    "returns a failing future of a pool": "ValueError",
    "returns a generator": "NothingRanError",
    "returns an async generator": "NothingRanError",
    "exits in a child task": "SystemExit",
}


def expected(case: Case) -> Expected:
    """What must become of each occurrence of a case."""
    ending = case.ending
    if case.kills:
        return _expected_of_killer(case)
    if ending == "is cancelled by an operator":
        return Expected("cancelled", ("cancelled",), "CancelledError", "requested")
    if ending in LIMITED:
        return failed("TimeoutError", "timeout")
    if ending.startswith("raises a group of") and ending not in ERROR_TYPES:
        return failed("BaseExceptionGroup")
    if ending == "raises StopIteration" and case.kind != "sync":
        return failed("RuntimeError")  # Python's own: a coroutine can't raise it
    if (error_type := ERROR_TYPES.get(ending)) is not None:
        return failed(error_type)
    return SUCCEEDED


def _expected_of_killer(case: Case) -> Expected:
    """Whoever finds the death says whose it was: the leader its worker's, recovery an owner's."""
    error_type = "WorkerDied" if case.place == "process" else "OwnerDied"
    if case.place == "process":
        if case.delivery == "at_most_once":
            return Expected("lost", ("lost",), error_type, "owner_died")
        return failed(error_type)
    if case.delivery == "at_most_once":
        return Expected("lost", ("lost",), error_type, "owner_died", most_deliveries=1, most_calls=1)
    # In a cluster each start is durable; in a replica the first two of one that dies at once are not.
    return Expected("failed", ("lost", "lost", "lost"), error_type, "owner_died", MOST_DELIVERIES, MOST_CALLS)


def policies(case: Case) -> dict[str, object]:
    """What the job of a case is like, wherever it is called."""
    limited = case.ending in LIMITED
    return {
        "delivery": case.delivery,
        "max_retries": MAX_RETRIES,
        "retry_delay": 0.1,
        "overlap": "queue",
        "timeout": 0.2 + PAUSE_SECONDS[case.when] if limited else None,
        "use_distributed_lock": case.locks,
        "lock_key": f"{os.environ.get('WITNESS_FILE')} {case.job_id}" if case.locks else None,
    }


def cases(place: str) -> list[Case]:
    """All of a place."""
    product = itertools.product(ENDS, KINDS, [place], WHENS, DELIVERIES, LOCKS)
    return [case for case in itertools.starmap(Case, product) if _exists(case)]


def _exists(case: Case) -> bool:
    if case.kind == "sync" and case.ending in ONLY_ASYNC:
        return False
    if case.place == "ManualScheduler":
        # A test's own process and loop must live, nobody cancels a run of it, and its limits go by the virtual clock.
        return not case.kills and case.ending not in (
            *("is cancelled by an operator", "exits in a child task", "stops the event loop"),
            *LIMITED,
        )
    return True


def chosen(found: Sequence[Case], choice: str) -> list[Case]:
    """All of these (`all`), or the choice of a short run: every ending × kind, and all of the rest among them in turn.

    Killers are chosen apart (`killers`, `all killers`): each takes its process along, and another, which takes its
    time to start, comes in its place. A short run has each of them written in one way.
    """
    these = [case for case in found if case.kills == choice.endswith("killers")]
    if choice.startswith("all"):
        return these
    others = list(itertools.product(WHENS, DELIVERIES, LOCKS))
    shown = list(dict.fromkeys((case.ending, case.kind) for case in these))
    if choice == "killers":
        killers = dict.fromkeys(ending for ending, _ in shown)
        shown = [(ending, KINDS[number % len(KINDS)]) for number, ending in enumerate(killers)]
    wanted = {pair: others[(3 * number) % len(others)] for number, pair in enumerate(shown)}
    return [c for c in these if wanted.get((c.ending, c.kind)) == (c.when, c.delivery, c.locks)]


def every_place() -> Iterator[Case]:
    for place in PLACES:
        yield from cases(place)
