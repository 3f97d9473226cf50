"""How faults strike processes, and what heals them. `drill.faults` is the table of them all."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.drill.commands import Answer
from scheduler_core.drill.evidence import DrillJob, Failover
from scheduler_core.drill.replicas import busy_until
from scheduler_core.drill.stage import Leader, Stage, poll

ANSWER_SECONDS = 15.0
JOIN_SECONDS = 30.0
JOINED_SECONDS = 1.0
LEAVE_SECONDS = 15.0
SKEWS_SECONDS = (-3600.0, -30.0, 30.0, 3600.0)
SPIN_SECONDS = 0.002

Heal = Callable[[], Awaitable[None]]


class NothingInjectedError(SchedulerError):
    """A fault did not come about: nobody obeyed a command, or there was nobody to hit."""


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """What a strike did: when by the database's clock, to whom, and how and after how long it is healed."""

    at: datetime
    target: str
    hit_leader: bool = True
    lasts_seconds: float = 0.0
    heal: Heal | None = None
    failover: Failover | None = None
    """Where a standby was promoted that no commit had waited for."""
    clock_off_seconds: float = 0.0
    """By how much the database's clock is off until it is healed."""


Inject = Callable[[Stage, Leader, random.Random], Awaitable[InjectedFault]]


async def nothing(_stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    """`two` strikes by its parts."""
    raise NothingInjectedError("this fault is made of others")


async def kill(stage: Stage, leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    leader.replica.signal(signal.SIGKILL)
    return InjectedFault(at, str(leader))


async def kill_on_the_dot(stage: Stage, leader: Leader, draw: random.Random) -> InjectedFault:
    job = draw.choice(stage.jobs)
    due_at = _next_due(job, stage.clock.now() + timedelta(milliseconds=100))
    until = stage.clock.monotonic_at(due_at)
    await asyncio.sleep(until - time.monotonic() - SPIN_SECONDS)
    busy_until(until)
    at = stage.clock.now()
    leader.replica.signal(signal.SIGKILL)
    return InjectedFault(at, f"{leader}, as {job.job_id} falls due")


def _next_due(job: DrillJob, after: datetime) -> datetime:
    every = timedelta(milliseconds=job.every_ms)
    return job.starts_at + ((after - job.starts_at) // every + 1) * every


async def term(stage: Stage, leader: Leader, _draw: random.Random) -> InjectedFault:
    stage.commands.withdraw("release")
    answer = await _command(stage, "holds")
    if answer.pid != leader.replica.pid:
        raise NothingInjectedError(f"the 30 s run began on pid {answer.pid}, which does not lead")
    at = stage.clock.now()
    leader.replica.signal(signal.SIGTERM)

    async def release() -> None:
        stage.commands.give("release")

    return InjectedFault(at, str(leader), lasts_seconds=2 * stage.plan.lease_ttl_seconds, heal=release)


async def stop(stage: Stage, leader: Leader, _draw: random.Random, *, ttls: float) -> InjectedFault:
    at = stage.clock.now()
    leader.replica.signal(signal.SIGSTOP)

    async def go_on() -> None:
        leader.replica.signal(signal.SIGCONT)

    return InjectedFault(at, str(leader), lasts_seconds=ttls * stage.plan.lease_ttl_seconds, heal=go_on)


async def block(stage: Stage, leader: Leader, _draw: random.Random, *, seconds: float) -> InjectedFault:
    answer = await _command(stage, "blocks", str(seconds))
    return _injected_by(stage, answer, leader, lasts_seconds=seconds)


async def suicide(stage: Stage, leader: Leader, _draw: random.Random, *, job: str) -> InjectedFault:
    return _injected_by(stage, await _command(stage, job), leader)


def _injected_by(stage: Stage, answer: Answer, leader: Leader, lasts_seconds: float = 0.0) -> InjectedFault:
    leads = answer.pid == leader.replica.pid
    target = str(leader) if leads else f"follower, pid {answer.pid}"
    return InjectedFault(stage.clock.at_wall(answer.wall_ns), target, leads, lasts_seconds)


async def kill_locked(stage: Stage, leader: Leader, _draw: random.Random) -> InjectedFault:
    answer = await _command(stage, "locked")
    holder = stage.replicas.of_pid(answer.pid)
    if holder is None:
        raise NothingInjectedError(f"pid {answer.pid}, which held the lock, ended by itself")
    at = stage.clock.now()
    holder.signal(signal.SIGKILL)
    leads = holder is leader.replica
    return InjectedFault(at, f"{leader if leads else f'follower, pid {holder.pid}'}, holding a lock", leads)


async def kill_follower(stage: Stage, leader: Leader, draw: random.Random) -> InjectedFault:
    follower = stage.replicas.follower(leader.replica.pid, draw)
    if follower is None:
        raise NothingInjectedError("there is no follower")
    at = stage.clock.now()
    follower.signal(signal.SIGKILL)
    return InjectedFault(at, f"follower, pid {follower.pid}", hit_leader=False)


async def skew(stage: Stage, leader: Leader, draw: random.Random) -> InjectedFault:
    seconds = draw.choice(SKEWS_SECONDS)
    leaving = stage.replicas.follower(leader.replica.pid, draw)
    if leaving is not None:
        leaving.signal(signal.SIGTERM)
        await leaving.ended(LEAVE_SECONDS)
    skewed = await stage.replicas.start(skew_seconds=seconds)

    async def joined() -> Leader | None:
        return None if await stage.replicas.absent() else await stage.leader()

    leader_now = await poll(joined, JOIN_SECONDS)
    if leader_now is None or leader_now.replica is not leader.replica:
        raise NothingInjectedError(f"pid {skewed.pid}, whose wall clock is wrong, did not join under the same leader")
    # Its start has kept the machine busy, which is not what is measured.
    await asyncio.sleep(JOINED_SECONDS)
    at = stage.clock.now()
    leader.replica.signal(signal.SIGKILL)
    return InjectedFault(at, f"{leader}; the wall clock of pid {skewed.pid} is {seconds:+g} s wrong")


async def all_down(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    for replica in stage.replicas.all:
        replica.signal(signal.SIGKILL)

    async def start_again() -> None:
        await stage.replicas.replace_dead(stage.plan.replicas)

    return InjectedFault(at, "all replicas", lasts_seconds=stage.plan.all_down_seconds, heal=start_again)


async def _command(stage: Stage, name: str, argument: str = "") -> Answer:
    stage.commands.give(name, argument)
    answer = await stage.answer(name, ANSWER_SECONDS)
    if answer is None:
        raise NothingInjectedError(f"nobody obeyed the command {name!r} within {ANSWER_SECONDS:g} s")
    return answer
