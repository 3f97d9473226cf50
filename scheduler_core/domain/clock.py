"""Whether the database's clock goes on as it did, or has jumped. Pure: readings come in, a judgement goes out.

Postgres's clock says what is due, so a clock that jumps eight hours ahead makes eight hours of jobs due at once, and
takes them from the hours in which they were meant to run. Nothing in the database can tell a jump from eight hours of
downtime; a clock that is not the database's can. Each reading of the database's clock therefore comes with what two
clocks of the machine that took it showed:

- *boottime*: since the machine started. Nobody sets it, it goes on while the machine sleeps, and every process of the
  machine reads the same. Between two readings of one machine it is the proof.
- *wall*: the time of day. It can be set, and it can be wrong. It is all there is between two machines, and counts less:
  what it says against the database's clock is believed only where more time has passed than a jump needs, and unless
  most of the machines that live say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler_core.domain.wording import in_words

CLOCK_JUMP_LIMIT_SECONDS = 300.0
"""The furthest jump that is none, unless the setting says otherwise: further than what stops a virtual machine for a
moment, or the step of a clock that is set once."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine's own clocks show at one moment."""

    boot: str
    """Names the machine's last start: boottimes compare only where it is the same."""
    boottime_seconds: float
    wall_at: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """The database's clock, read at one moment of a machine's clocks."""

    database_at: datetime
    machine: Machine
    error_seconds: float = 0.0
    """By how much both may be apart: half the time that the answer took."""

    @property
    def ahead_seconds(self) -> float:
        """The database's clock minus the machine's wall clock."""
        return (self.database_at - self.machine.wall_at).total_seconds()

    def carried_to(self, machine: Machine) -> datetime:
        """What the database's clock should show at another moment."""
        return self.database_at + timedelta(seconds=_passed_seconds(self.machine, machine)[0])


class Evidence(StrEnum):
    """Which clock says how much time has passed."""

    BOOTTIME = "boottime"
    WALL = "wall"


@dataclass(frozen=True, slots=True)
class Jump:
    """By how much a reading is off what an earlier one lets expect. Positive: ahead."""

    seconds: float
    evidence: Evidence

    def __str__(self) -> str:
        return f"{in_words(round(abs(self.seconds)))} {'ahead' if self.seconds > 0 else 'back'}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Planning has stopped: the reading that was not believed, and by how much it was off."""

    hold_id: int
    reading: Reading
    expected_at: datetime
    evidence: Evidence
    instance_id: str

    @property
    def jump(self) -> Jump:
        """By how much the clock had jumped when it was found out."""
        return Jump((self.reading.database_at - self.expected_at).total_seconds(), self.evidence)


@dataclass(frozen=True, slots=True)
class ClockState:
    """What is stored: the last reading that planning went by, and what stops it, if anything does."""

    accepted: Reading | None = None
    version: int = 0
    """Raised by each agreement of an operator."""
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether planning may go by a reading; if not, how far it is off."""

    is_admitted: bool
    jump: Jump | None = None


ADMITTED = Judgement(True)


def judge(
    reading: Reading,
    own: Reading | None,
    state: ClockState,
    limit_seconds: float,
    *,
    off_since: datetime | None = None,
    others_ahead_seconds: Mapping[str, float] | None = None,
) -> Judgement:
    """Whether planning may go by a reading.

    Parameters: own, the last reading that this process went by; limit_seconds, the furthest jump that is none, 0 for no
    limit at all; off_since, the database's time at the first reading that this process could not go by since then;
    others_ahead_seconds, by `boot`, the database's clock minus the wall clocks of other machines that live, as each has
    measured it just now.
    """
    accepted = state.accepted
    references = [known for known in (own, accepted) if known is not None]
    if limit_seconds <= 0 or not references:
        return ADMITTED
    proofs = [known for known in references if known.machine.boot == reading.machine.boot]
    if proofs:
        jump = min((measure(reading, proof) for proof in proofs), key=lambda jump: abs(jump.seconds))
        is_admitted = abs(jump.seconds) <= limit_seconds or _is_vouched_for(reading, state, off_since, limit_seconds)
        return Judgement(is_admitted, jump)
    assert accepted is not None
    jump = measure(reading, accepted)
    aheads = {**(others_ahead_seconds or {}), reading.machine.boot: reading.ahead_seconds}
    most_agree = _most_agree(aheads, accepted, limit_seconds)
    if state.hold is not None:
        # Both clocks may have been set together, and the machine started anew: nothing is over while the database's
        # clock goes on as it did when it was stopped for.
        goes_on = abs(measure(reading, state.hold.reading).seconds) <= limit_seconds / 2
        return Judgement(most_agree and (not goes_on or state.hold.evidence is Evidence.WALL), jump)
    fits = abs(jump.seconds) <= limit_seconds or most_agree or _is_too_soon_for_a_jump(reading, accepted, limit_seconds)
    return Judgement(fits, jump)


def measure(reading: Reading, reference: Reading) -> Jump:
    """How far a reading is off what `reference` lets expect, by the best clock that both have."""
    passed_seconds, evidence = _passed_seconds(reference.machine, reading.machine)
    off = (reading.database_at - reference.database_at).total_seconds() - passed_seconds
    unsure = reading.error_seconds + reference.error_seconds
    # Half an answer's time is no jump: a process that was stopped while it waited knows no better.
    return Jump(off - max(-unsure, min(unsure, off)), evidence)


def _passed_seconds(earlier: Machine, later: Machine) -> tuple[float, Evidence]:
    if earlier.boot == later.boot:
        return later.boottime_seconds - earlier.boottime_seconds, Evidence.BOOTTIME
    return (later.wall_at - earlier.wall_at).total_seconds(), Evidence.WALL


def _is_vouched_for(reading: Reading, state: ClockState, off_since: datetime | None, limit_seconds: float) -> bool:
    """Whether another machine has gone by the database's clock since this one could not.

    Then it is this one's own clock that stood still, as that of a virtual machine does while it is paused.
    """
    accepted = state.accepted
    if accepted is None or state.hold is not None or off_since is None:
        return False
    is_anothers = accepted.machine.boot != reading.machine.boot and accepted.database_at > off_since
    return is_anothers and _is_too_soon_for_a_jump(reading, accepted, limit_seconds)


def _is_too_soon_for_a_jump(reading: Reading, accepted: Reading, limit_seconds: float) -> bool:
    """Whether so little time has passed, by the database's clock, that no jump beyond the limit lies in it.

    So a machine whose wall clock is wrong takes over from another without a question.
    """
    return abs((reading.database_at - accepted.database_at).total_seconds()) <= limit_seconds


def _most_agree(ahead_seconds: Mapping[str, float], accepted: Reading, limit_seconds: float) -> bool:
    """Whether the database's clock is, to most machines, as far from their wall clocks as it was."""
    agreeing = [ahead for ahead in ahead_seconds.values() if abs(ahead - accepted.ahead_seconds) <= limit_seconds]
    return len(agreeing) * 2 > len(ahead_seconds)


def describe_hold(hold: Hold, limit_seconds: float | None = None) -> str:
    """What has happened, in a sentence's worth."""
    by = (
        "this machine's own clock"
        if hold.evidence is Evidence.BOOTTIME
        else "the wall clocks of the replicas' machines"
    )
    beyond = "" if limit_seconds is None else f", more than clock_jump_limit ({limit_seconds:g} s)"
    return (
        f"the database's clock jumped {hold.jump}{beyond}: it showed {_shown(hold.reading.database_at)} where {by} let "
        f"expect {_shown(hold.expected_at)}"
    )


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


WHAT_TO_DO = (
    "nothing is planned until it is right again, or somebody agrees to the time that it shows: `scheduler clock show`, "
    "then `scheduler clock agree`"
)
