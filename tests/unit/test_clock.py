"""Has the database's clock jumped? Every kind of jump, and of what is none, by whichever replica has to say so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core.domain.clock import (
    ClockState,
    Evidence,
    Hold,
    Judgement,
    Machine,
    Reading,
    describe_hold,
    judge,
    measure,
)

TRUE = datetime(2026, 3, 1, tzinfo=UTC)
LIMIT = 300.0
HOUR = 3600.0
DAY = 86_400.0


@dataclass
class World:
    """True time, a database whose clock may be off, and machines whose wall clocks may be."""

    now: float = 0.0
    database_off: float = 0.0
    state: ClockState = field(default_factory=ClockState)
    replicas: list[Replica] = field(default_factory=list)

    def replica(self, machine: str, wall_off: float = 0.0) -> Replica:
        """A process that starts now; those of one machine share its clocks."""
        made = Replica(self, machine, wall_off)
        self.replicas.append(made)
        return made

    def others_than(self, replica: Replica) -> dict[str, float]:
        return {
            each.boot: each.reading().ahead_seconds
            for each in self.replicas
            if each.lives and each.boot != replica.boot
        }


@dataclass
class Replica:
    """What `ClockGuard` does, on a true time that the test moves."""

    world: World
    machine: str
    wall_off: float
    starts: int = 0
    stood_still: float = 0.0
    lives: bool = True
    own: Reading | None = None
    off_since: datetime | None = None
    version: int = 0

    @property
    def boot(self) -> str:
        return f"{self.machine}/{self.starts}"

    def machine_now(self) -> Machine:
        wall = TRUE + timedelta(seconds=self.world.now + self.wall_off)
        # Each machine counts from a beginning of its own.
        return Machine(self.boot, self.world.now - self.stood_still + 1000.0 * len(self.machine), wall)

    def reading(self, error: float = 0.001) -> Reading:
        database_at = TRUE + timedelta(seconds=self.world.now + self.world.database_off)
        return Reading(database_at, self.machine_now(), error)

    def look(self, *, leads: bool = False) -> Judgement:
        state, reading = self.world.state, self.reading()
        if state.version != self.version:
            self.own, self.version = None, state.version
        others = self.world.others_than(self)
        found = judge(reading, self.own, state, LIMIT, off_since=self.off_since, others_ahead_seconds=others)
        if found.is_admitted:
            self.own, self.off_since = reading, None
            if leads:
                self.world.state = ClockState(reading, state.version)
            return found
        self.off_since = self.off_since or reading.database_at
        if leads and state.hold is None and found.jump is not None:
            reference = self.own or state.accepted
            assert reference is not None
            hold = Hold(1, reading, reference.carried_to(reading.machine), found.jump.evidence, self.machine)
            self.world.state = replace(state, hold=hold)
        return found

    def leads_for(self, seconds: float, every: float = 1.0) -> None:
        for _ in range(int(seconds / every)):
            self.world.now += every
            for each in self.world.replicas:
                if each.lives:
                    each.look(leads=each is self)

    def agree(self) -> None:
        self.world.state = ClockState(self.reading(0.0), self.world.state.version + 1)

    def dies(self) -> None:
        self.lives = False


def is_held(found: Judgement, jump: float, evidence: Evidence = Evidence.BOOTTIME) -> bool:
    return (
        not found.is_admitted
        and found.jump is not None
        and found.jump.evidence is evidence
        and found.jump.seconds == pytest.approx(jump, abs=2)
    )


@pytest.mark.parametrize("jump", [8 * HOUR, -8 * HOUR, 301, -301, 400 * DAY])
@pytest.mark.parametrize("wall_off", [0.0, HOUR, -DAY])
def test_a_jump_while_leading_stops_planning_and_is_over_when_the_clock_is_right_again(
    jump: float, wall_off: float
) -> None:
    """pg_cron #105, quartz #270: the clock is hours off for some seconds, then right."""
    world = World()
    leader = world.replica("a", wall_off)
    leader.leads_for(20)
    world.database_off = jump
    assert is_held(leader.look(leads=True), jump)
    leader.leads_for(6)
    assert is_held(leader.look(leads=True), jump)
    world.database_off = 0.0
    assert leader.look(leads=True).is_admitted
    assert world.state.hold is None


@pytest.mark.parametrize("jump", [299.0, -299.0, 10.0, 0.0])
def test_less_than_the_limit_is_gone_by(jump: float) -> None:
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    world.database_off = jump
    assert leader.look(leads=True).is_admitted


@pytest.mark.parametrize("jump", [8 * HOUR, -8 * HOUR])
def test_an_operator_may_agree_and_then_the_way_back_is_a_jump_again(jump: float) -> None:
    world = World()
    leader, follower = world.replica("a"), world.replica("bb")
    leader.leads_for(20)
    world.database_off = jump
    leader.leads_for(30)
    assert world.state.hold is not None
    world.replica("an operator's").agree()
    leader.leads_for(30)
    assert world.state.hold is None
    assert leader.look(leads=True).is_admitted
    assert follower.look().is_admitted
    world.database_off = 0.0
    for replica in (leader, follower):
        assert is_held(replica.look(), -jump)


@pytest.mark.parametrize("jump", [8 * HOUR, -8 * HOUR])
@pytest.mark.parametrize("machine", ["a", "bb"])
@pytest.mark.parametrize("wall_off", [0.0, 2 * HOUR])
def test_a_successor_that_was_there_before_finds_it_out_itself(jump: float, machine: str, wall_off: float) -> None:
    """The leader dies, and the clock jumps at that very moment."""
    world = World()
    leader, follower = world.replica("a"), world.replica(machine, wall_off if machine != "a" else 0.0)
    leader.leads_for(20)
    leader.dies()
    world.database_off = jump
    world.now += 0.03
    assert is_held(follower.look(leads=True), jump)


def world_after(jump: float, down: float, *, found_out: bool) -> World:
    """A leader died and all were down for so long; the database's clock jumped before that, seen by him, or after."""
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    if found_out:
        world.database_off = jump
        leader.leads_for(3)
    leader.dies()
    world.now += down
    world.database_off = jump
    return world


@pytest.mark.parametrize("jump", [8 * HOUR, -8 * HOUR])
@pytest.mark.parametrize("down", [0.5, 600.0, 3 * DAY])
@pytest.mark.parametrize("found_out", [True, False])
def test_a_restart_of_all_does_not_accept_it(jump: float, down: float, found_out: bool) -> None:
    """On the machine where they ran, whatever its wall clock shows: the jump came before they went, or after."""
    world = world_after(jump, down, found_out=found_out)
    again = world.replica("a", wall_off=5 * HOUR)
    assert is_held(again.look(leads=True), jump)
    world.database_off = 0.0
    assert again.look(leads=True).is_admitted


@pytest.mark.parametrize("jump", [8 * HOUR, -8 * HOUR])
@pytest.mark.parametrize("down", [600.0, 3 * DAY])
@pytest.mark.parametrize("found_out", [True, False])
def test_on_another_machine_the_wall_clock_tells(jump: float, down: float, found_out: bool) -> None:
    world = world_after(jump, down, found_out=found_out)
    again = world.replica("bb")
    assert is_held(again.look(leads=True), jump, Evidence.WALL)
    world.database_off = 0.0
    assert again.look(leads=True).is_admitted


@pytest.mark.parametrize("down", [1.0, 600.0, 10 * DAY, 4000 * DAY])
@pytest.mark.parametrize("machine", ["a", "bb"])
def test_a_downtime_of_days_is_none(down: float, machine: str) -> None:
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    leader.dies()
    world.now += down
    assert world.replica(machine).look(leads=True).is_admitted


@pytest.mark.parametrize("wall_off", [8 * HOUR, -8 * HOUR, 400.0])
def test_the_hosts_clock_is_wrong_and_the_databases_right(wall_off: float) -> None:
    """A machine with a wrong wall clock leads like any other: running, after a takeover, after a downtime on it."""
    world = World()
    leader, skewed = world.replica("a"), world.replica("bb", wall_off)
    leader.leads_for(20)
    leader.dies()
    skewed.leads_for(20)
    assert world.state.hold is None
    # It is set right, or further off, under the replica.
    skewed.wall_off = -wall_off
    skewed.leads_for(20)
    assert world.state.hold is None
    skewed.dies()
    fresh = world.replica("ccc", 3 * HOUR)
    assert fresh.look(leads=True).is_admitted, "it starts elsewhere, moments later"
    fresh.dies()
    world.now += 3 * DAY
    assert world.replica("ccc", -7 * HOUR).look(leads=True).is_admitted, "and again there, after days"


def test_a_wrong_host_alone_after_a_long_downtime_asks_a_person() -> None:
    """Two clocks that say different things: nobody can know which one is right."""
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    leader.dies()
    world.now += 3 * DAY
    alone = world.replica("bb", HOUR)
    assert is_held(alone.look(leads=True), -HOUR, Evidence.WALL)
    alone.leads_for(10)
    world.replica("ccc")
    alone.leads_for(3)
    assert world.state.hold is not None, "one of two is not most of them"
    world.replica("dddd")
    alone.leads_for(3)
    assert world.state.hold is None, "most machines agree with the database's clock, so this one is wrong"


def test_one_right_host_does_not_outvote_one_that_is_wrong() -> None:
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    leader.dies()
    world.now += 3 * DAY
    world.database_off = HOUR
    first, second = world.replica("bb"), world.replica("ccc", HOUR)
    first.look(leads=True)
    assert not first.look(leads=True).is_admitted
    assert not second.look().is_admitted


@pytest.mark.parametrize("asleep", [600.0, 9 * HOUR])
def test_a_machine_that_was_suspended_is_not_taken_in(asleep: float) -> None:
    """With or without the database on it: boottime goes on while a machine sleeps."""
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    world.now += asleep
    assert leader.look(leads=True).is_admitted


@pytest.mark.parametrize("paused", [600.0, 9 * HOUR])
@pytest.mark.parametrize("wall_follows", [True, False])
def test_a_paused_virtual_machine_follows_one_that_was_not(paused: float, wall_follows: bool) -> None:
    """Its boottime stood still: to it the database's clock has jumped. The leader elsewhere knows better."""
    world = World()
    leader, guest = world.replica("a"), world.replica("bb")
    leader.leads_for(20)
    guest.lives = False
    leader.leads_for(paused, every=10.0)
    guest.lives, guest.stood_still = True, paused
    guest.wall_off = 0.0 if wall_follows else -paused
    assert is_held(guest.look(), paused)
    leader.leads_for(5)
    assert guest.look().is_admitted
    leader.dies()
    assert guest.look(leads=True).is_admitted


def test_a_paused_virtual_machine_alone_asks_a_person() -> None:
    """From inside it looks like a clock of machine and database that was set: better asked than eight hours lost."""
    world = World()
    guest = world.replica("a")
    guest.leads_for(20)
    world.now += 8 * HOUR
    guest.stood_still = 8 * HOUR
    assert is_held(guest.look(leads=True), 8 * HOUR)


def test_a_paused_database_machine_is_waited_for() -> None:
    """Its clock stood still, and is set right some time after it wakes: by then nothing was consumed."""
    world = World()
    leader, follower = world.replica("a"), world.replica("bb")
    leader.leads_for(20)
    world.now += 8 * HOUR
    world.database_off = -8 * HOUR
    for replica in (leader, follower):
        assert is_held(replica.look(), -8 * HOUR)
    leader.dies()
    assert is_held(follower.look(leads=True), -8 * HOUR), "though hardly any time has passed by the database's clock"
    world.database_off = 0.0
    assert follower.look(leads=True).is_admitted


@pytest.mark.parametrize("jump", [8 * HOUR, -8 * HOUR])
def test_a_machine_and_database_that_are_set_together(jump: float) -> None:
    """One host for both: its wall clock agrees with the database's, its boottime with neither; also after a reboot."""
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    world.database_off = leader.wall_off = jump
    assert is_held(leader.look(leads=True), jump)
    leader.dies()
    world.now += 60
    rebooted = world.replica("a", jump)
    rebooted.starts = 1
    assert not rebooted.look(leads=True).is_admitted
    # Nothing tells whether they are set back together now, or were never set: a person does.
    world.replica("an operator's").agree()
    assert rebooted.look(leads=True).is_admitted
    assert world.state.hold is None


def test_all_walls_may_be_wrong_together_for_a_while() -> None:
    """A time server's mistake: every wall clock and the database's go along, boottimes don't."""
    world = World()
    leader, follower = world.replica("a"), world.replica("bb")
    leader.leads_for(20)
    world.database_off = leader.wall_off = follower.wall_off = 8 * HOUR
    for replica in (leader, follower):
        assert is_held(replica.look(), 8 * HOUR)
    leader.leads_for(6)
    leader.dies()
    assert is_held(follower.look(leads=True), 8 * HOUR)


def test_the_first_reading_of_all_is_gone_by() -> None:
    world = World(database_off=-400 * DAY)
    assert world.replica("a").look(leads=True).is_admitted


def test_without_a_limit_nothing_is_a_jump() -> None:
    world = World()
    leader = world.replica("a")
    leader.leads_for(20)
    world.database_off = 8 * HOUR
    assert judge(leader.reading(), leader.own, world.state, 0.0).is_admitted


@given(st.floats(0, 10_000), st.floats(-10_000, 10_000))
def test_half_an_answers_time_is_no_jump(error: float, off: float) -> None:
    """A process that was stopped while it waited for the answer knows no better."""
    machine = Machine("a", 0.0, TRUE)
    before = Reading(TRUE, machine)
    late = Reading(TRUE + timedelta(seconds=60 + off), Machine("a", 60.0, TRUE), error)
    found = measure(late, before)
    assert abs(found.seconds) == pytest.approx(max(0.0, abs(off) - error), abs=1e-3)
    assert found.seconds * off >= 0


@given(st.lists(st.sampled_from([-4000.0, -200.0, 0.0, 200.0, 4000.0]), max_size=8), st.integers(0, 3))
def test_nothing_is_gone_by_that_is_further_off_than_the_limit_from_all_that_was(offs: list[float], seed: int) -> None:
    """Whatever the clock does, and whoever leads on one machine: what is accepted goes on as what was accepted."""
    world = World()
    replicas = [world.replica("a") for _ in range(2)]
    replicas[0].leads_for(3)
    last = 0.0
    for number, off in enumerate(offs):
        world.now += 1 + seed * 1000
        world.database_off = off
        leads = replicas[number % 2]
        for replica in replicas:
            found = replica.look(leads=replica is leads)
            assert found.is_admitted == (abs(off - last) <= LIMIT + 1) or abs(abs(off - last) - LIMIT) < 2
        if abs(off - last) <= LIMIT:
            last = off


def test_a_hold_in_words() -> None:
    reading = Reading(TRUE + timedelta(hours=8, seconds=3), Machine("a", 0.0, TRUE), 0.0)
    hold = Hold(7, reading, TRUE + timedelta(seconds=3), Evidence.BOOTTIME, "a-1")
    assert describe_hold(hold, 300.0) == (
        "the database's clock jumped 8 h ahead, more than clock_jump_limit (300 s): it showed 2026-03-01 08:00:03 UTC "
        "where this machine's own clock let expect 2026-03-01 00:00:03 UTC"
    )
    back = Hold(8, Reading(TRUE, Machine("a", 0.0, TRUE)), TRUE + timedelta(hours=1), Evidence.WALL, "a-1")
    assert "jumped 1 h back: " in describe_hold(back)
    assert "the wall clocks of the replicas' machines let expect" in describe_hold(back)
