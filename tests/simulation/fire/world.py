"""One seed's world: replicas of a service with its jobs, an operator, the servers, and what goes wrong among them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol
from uuid import UUID

from scheduler_core import RunContext
from scheduler_core.domain.election.trust import RedisOutage, Timing
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.storage.postgres import keys

from ..checks import Checks, Tally
from ..faults import ON_BOTH, ON_REDIS
from ..redis_server import RedisServer
from ..timeline import StuckError, Timeline
from ..world import NAMES, STALLS_OF_TTL, _no_collector
from .faults import FAULTS, FireFault
from .jobs import BUSY_SECONDS, FAILS, stage
from .record import Record
from .replica import FireReplica, Operator
from .stepped_postgres import RealPostgres, SteppedPostgres

TTLS_SECONDS = (1.0, 3.0)
EPISODES = 3
AT_ONCE = (1, 2, 2, 2, 3)
LOOK_SECONDS = 0.25

VERBS_EVERY_SECONDS = (0.3, 2.5)

ENDED_WITHIN_SECONDS = 120.0
"""After the last fault: a seat, a TTL until an owner is dead, the statements that are given up, retries with their
pauses, what a clock that was set back has before it.
"""


class FireScene(Protocol):
    """What happens, told step by step."""

    def __call__(self, world: FireWorld, /) -> Coroutine[Any, Any, None]: ...


class FireWorld:
    """Parameters: seed, of everything that happens; real, the server; faults, those that may."""

    def __init__(
        self,
        seed: int,
        real: RealPostgres,
        faults: Mapping[str, FireFault] = FAULTS,
        *,
        outage: RedisOutage | None = None,
    ) -> None:
        self.timeline = timeline = Timeline(seed)
        self.real = real
        dice = timeline.random
        ttl_seconds = dice.choice(TTLS_SECONDS)
        self.timing = Timing(ttl_seconds, ttl_seconds * dice.choice(STALLS_OF_TTL))
        self.outage = outage or dice.choice((RedisOutage.HOLD, RedisOutage.HOLD, RedisOutage.STOP))
        self.checks = Checks(timeline, self.timing)
        timeline.failed = self.checks.fail
        # The names of runs, and the spread of retries: both are drawn by modules.
        keys._random.seed(seed)
        random.seed(seed)
        self.postgres = SteppedPostgres(timeline, real, self.checks)
        self.redis = RedisServer(timeline)
        self.record = Record(self)
        self.faults = faults
        self.replicas: list[FireReplica] = []
        self.operator = Operator(self)
        self.is_over = False
        self.are_operators_at_rest = False
        self.was_clock_set = False
        self.began_at = timeline.now
        self.digest = ""
        self._born = 0
        self._threads: dict[UUID, str] = {}

    def living(self) -> list[FireReplica]:
        return [replica for replica in self.replicas if not replica.host.is_dead]

    def leader(self) -> FireReplica | None:
        """Who may start something at this instant."""
        return next((replica for replica in self.replicas if replica.leads), None)

    def be_born(self, name: str) -> None:
        """A process of this name begins, unless there is one."""
        if any(replica.name == name for replica in self.living()):
            return
        self._born += 1
        self.replicas.append(FireReplica(self, name, self._born))

    def kill(self, victim: FireReplica) -> None:
        if victim.host.is_dead:
            return
        victim.host.is_dead = True
        self.checks.gone(victim.host.name)
        name = victim.host.name
        victim.postgres.up.send(lambda: self.postgres.client_died(name))

    def what_a_call_does(self, job_id: str) -> tuple[float, bool]:
        """For how many seconds a call goes on, and whether it fails then."""
        dice = self.timeline.random
        return dice.choice(BUSY_SECONDS.get(job_id, (0.0,))), dice.random() < FAILS.get(job_id, 0.0)

    def in_thread_of(self, ctx: RunContext) -> str:
        """Which process a callback without a loop is called in: whoever leads the term that it is told."""
        term = next((term for term in reversed(self.checks.terms) if term.number == ctx.term), None)
        return "nobody" if term is None else term.instance_id

    # What happens.

    def play(self, scene: FireScene | None = None) -> Tally:
        """Let it happen: what the seed says, or a scene; raises ViolationError."""
        stage[:] = [self]
        with _no_collector():
            try:
                self.timeline.run((scene or FireWorld._happen)(self), lambda: self.checks.broken is not None)
            except StuckError:
                self.checks.fail("L1: nobody has anything left to do")
            finally:
                self._end()
        if self.checks.broken is not None:
            raise self.checks.broken
        return self.checks.tally

    def _end(self) -> None:
        self.is_over = True
        self.digest = self.checks.digest()
        for replica in (*self.replicas, self.operator):
            replica.postgres.is_over = True
        for replica in self.replicas:
            replica.redis.is_over = True
        self.timeline.failed = lambda text: None
        self.postgres.dispose()
        self.timeline.dispose()
        stage.clear()

    async def begin(self, replicas: int = 3) -> None:
        for name in NAMES[:replicas]:
            self.be_born(name)
        for _ in range(int(30 / LOOK_SECONDS)):
            if self.leader() is not None:
                return
            await asyncio.sleep(LOOK_SECONDS)
        self.checks.fail("L1: nobody leads half a minute after the start")

    async def _happen(self) -> None:
        dice = self.timeline.random
        await self.begin(dice.choice((2, 2, 3)))
        operating = asyncio.create_task(self._operate(), name="operators")
        for _ in range(EPISODES):
            await asyncio.sleep(dice.uniform(0.5, 3.0))
            ends_at = self.timeline.now
            for _ in range(dice.choice(AT_ONCE)):
                ends_at = max(ends_at, self.inject(dice.choice(list(self.faults))))
                await asyncio.sleep(dice.choice((0.0, 0.0, dice.uniform(0.0, 0.1), dice.uniform(0.0, 2.0))))
            await asyncio.sleep(max(0.0, ends_at - self.timeline.now))
        self.are_operators_at_rest = True
        await operating
        await self.all_ended()

    def inject(self, name: str, victim: FireReplica | None = None) -> float:
        """Let one fault happen; returns when it is over."""
        dice = self.timeline.random
        if victim is None:
            leader = self.leader()
            living = self.living()
            victim = leader if leader is not None and dice.random() < 0.7 else dice.choice(living) if living else None
        if victim is None:
            return self.timeline.now
        self.checks.tally.faults[name] += 1
        before = self.timeline.now
        seconds = self.faults[name](self, dice, victim)
        self.checks.say(f"FAULT {name} {victim.host.name} {seconds:.3f}")
        if name in ON_REDIS or name in ON_BOTH:
            self.checks.redis_troubled_at = max(self.checks.redis_troubled_at, before + seconds)
        return before + seconds

    async def all_ended(self) -> None:
        """L2: what is due by now ends, soon enough; then the whole record is asked."""
        due, began, left = self.postgres.now(), self.timeline.now, ["?"]
        while left:
            if self.timeline.now - began > ENDED_WITHIN_SECONDS:
                self.checks.fail(f"L2: {ENDED_WITHIN_SECONDS:.0f} s after the last fault: {left}")
                return
            await asyncio.sleep(LOOK_SECONDS)
            left = [*self.record.unended(due), *(["nobody leads"] if self.leader() is None else [])]
        waited = self.timeline.now - began
        self.checks.tally.longest_vacancy_seconds = max(self.checks.tally.longest_vacancy_seconds, waited)
        self.record.check()

    # Operators.

    async def _operate(self) -> None:
        dice, director = self.timeline.random, asyncio.get_running_loop()
        while not self.are_operators_at_rest:
            await asyncio.sleep(dice.uniform(*VERBS_EVERY_SECONDS))
            verb, cancelled_after = dice.choice(VERBS), dice.choice((None, None, dice.randrange(1, 40)))
            done = asyncio.Event()

            async def act(verb: str = verb, done: asyncio.Event = done) -> None:
                try:
                    with contextlib.suppress(SchedulerError, TimeoutError):
                        await getattr(self, f"_{verb}")()
                        self.checks.say(f"operator: {verb}")
                finally:
                    director.call_soon_threadsafe(done.set)

            def begin(after: int | None = cancelled_after, work: Any = act) -> None:
                task = self.operator.loop.create_task(work())
                if after is not None:
                    countdown(after, task)

            def countdown(left: int, task: asyncio.Task[None]) -> None:
                if left:
                    self.operator.loop.call_soon(countdown, left - 1, task)
                else:
                    task.cancel()

            self.operator.loop.call_soon_threadsafe(begin)
            await done.wait()

    def _some_job(self) -> str:
        return self.timeline.random.choice(("plain", "once_at_most", "retried", "long", "threaded", "all"))

    async def _pause(self) -> None:
        job_id = self._some_job()
        await self.operator.jobs.pause(job_id)
        await asyncio.sleep(self.timeline.random.uniform(0.0, 3.0))
        await self.operator.jobs.resume(job_id)

    async def _resume(self) -> None:
        await self.operator.jobs.resume(self._some_job())

    async def _trigger(self) -> None:
        job_id, run_id = self._some_job(), keys.new_run_id(self.postgres.now())
        run = await self.operator.jobs.trigger(job_id, run_id=run_id)
        self.record.triggered[run.run_id] = f"a trigger of {job_id}"

    async def _cancel(self) -> None:
        calls = [call.run_id for call in self.record.calls[-3:]]
        if calls:
            await self.operator.runs.cancel(self.timeline.random.choice(calls))

    async def _rerun(self) -> None:
        calls = [call.run_id for call in self.record.calls[-20:]]
        if calls:
            new_id = keys.new_run_id(self.postgres.now())
            run = await self.operator.runs.rerun(self.timeline.random.choice(calls), new_id)
            self.record.triggered[run.run_id] = "a rerun"

    async def _remove(self) -> None:
        await self.operator.jobs.remove("removed")


VERBS = ("pause", "resume", "trigger", "trigger", "cancel", "cancel", "rerun", "remove")
