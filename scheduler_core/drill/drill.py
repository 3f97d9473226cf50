"""A drill from beginning to end: servers, replicas, faults, evidence.

It never hangs: each wait has a limit, and one that runs out stands in the evidence as a fault without a first fire.
However it ends, by Ctrl-C too, replicas, proxies and servers end with it.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from scheduler_core.domain.errors import InvalidSettingsError, SchedulerError
from scheduler_core.drill.clock import at_wall
from scheduler_core.drill.collect import collect
from scheduler_core.drill.evidence import Evidence, FaultRecord
from scheduler_core.drill.faults import FAULTS, ends_a_term, in_turn
from scheduler_core.drill.folder import DrillFolder
from scheduler_core.drill.injection import InjectedFault
from scheduler_core.drill.record_trace import lines_of
from scheduler_core.drill.replicas import KILL_TIMEOUT_SECONDS
from scheduler_core.drill.schedule import DrillPlan, PlannedFault, planned_faults
from scheduler_core.drill.setup import SETTLE_SECONDS, open_stage
from scheduler_core.drill.stage import FirstFire, Leader, Stage
from scheduler_core.drill.trace import as_text
from scheduler_core.drill.witness import read_calls

COME_BACK_SECONDS = 20.0
"""How long a replica may stay away after a fault was healed; a new one needs a few seconds."""

FIRST_FIRE_SECONDS = 45.0
ACCOUNTED_SECONDS = 90.0
STRIKE_TRIES = 3
LEAST_REPLICAS = 2

OnProgress = Callable[[str], None]


async def run_drill(plan: DrillPlan, on_progress: OnProgress) -> Evidence:
    """Play a drill and return what it collected. `on_progress` is told one line whenever something happens.

    Raises InvalidSettingsError where a fault is not allowed on these servers, EmbeddedServerError or
    ServerUnreachableError where the stage can't be set.
    """
    if plan.replicas < LEAST_REPLICAS:
        raise InvalidSettingsError("a drill needs 2 replicas at least: else nobody is there to take over")
    if plan.trace is not None and plan.staging is not None:
        raise InvalidSettingsError(
            "a trace is kept by triggers, which only the drill's own servers get: leave out --staging"
        )
    planned = planned_faults(plan)
    with DrillFolder(plan, on_progress) as folder:
        async with open_stage(plan, folder, on_progress) as stage:
            drill = _Drill(stage, on_progress)
            for fault in planned:
                await drill.play(fault)
            ended_at = await drill.settle_accounts()
            await stage.replicas.stop()
            on_progress("reading the record and the witness files")
            evidence = await collect(stage, planned, drill.records, ended_at, folder.path)
            if plan.trace is not None:
                await _write_trace(stage, evidence, folder.path, plan.trace)
                on_progress(f"trace: {plan.trace}")
            folder.worth_a_look = any(fault.first_fire_at is None for fault in evidence.faults)
            return evidence


async def _write_trace(stage: Stage, evidence: Evidence, folder: Path, file: Path) -> None:
    changes = [change async for change in stage.servers.row_log.changes()]
    lines = lines_of(changes, read_calls(folder, at_wall), evidence)
    await asyncio.to_thread(file.write_text, "".join(as_text(line) + "\n" for line in lines), "utf-8")


@dataclass(slots=True)
class _Drill:
    """One fault after another, and a record of each."""

    stage: Stage
    on_progress: OnProgress
    records: list[FaultRecord] = field(default_factory=list)

    async def play(self, planned: PlannedFault) -> None:
        """Have what it takes, let things settle, strike, wait for the first fire, heal, fill up the replicas."""
        name = " + ".join(planned.parts)
        problem = ""
        for _ in range(STRIKE_TRIES):
            try:
                await self._prepare(planned)
            except SchedulerError as error:
                problem = f"nobody: {error}"
                continue
            leader = await self._settle(planned.pause_ms)
            if leader is None:
                problem = f"nobody: no leader that fires within {SETTLE_SECONDS:g} s"
                break
            try:
                injected = await self._inject(planned, leader)
            except SchedulerError as error:
                problem = f"nobody: {error}"
                await self.stage.replicas.replace_dead(self.stage.plan.replicas)
                continue
            record = await self._aftermath(planned, leader, injected)
            self._keep(record, f"{name}: {_told(record)}")
            await self.stage.replicas.replace_dead(self.stage.plan.replicas)
            return
        now = self.stage.clock.now()
        self._keep(
            FaultRecord(planned.number, planned.kind, problem, False, 0, now, None, None, None, planned.parts),
            f"{name}: {problem}",
        )
        await self.stage.replicas.replace_dead(self.stage.plan.replicas)

    async def _prepare(self, planned: PlannedFault) -> None:
        for part in planned.parts:
            if (prepare := FAULTS[part].prepare) is not None:
                await prepare(self.stage)

    def _keep(self, record: FaultRecord, said: str) -> None:
        self.records.append(record)
        self.on_progress(f"fault {record.number} of {self.stage.plan.count}: {said}")

    async def _settle(self, pause_ms: int) -> Leader | None:
        """A leader that fires, still the same one after a pause."""
        await self._end_the_absent()
        for _ in range(STRIKE_TRIES):
            leader = await self.stage.settled_leader(SETTLE_SECONDS)
            if leader is None:
                return None
            await asyncio.sleep(pause_ms / 1000)
            if await self.stage.leader() == leader:
                return leader
        return None

    async def _end_the_absent(self) -> None:
        """A replica that lives and takes part no more is useless to its owner: say so, and put another in its place."""
        for replica in await self.stage.come_back(COME_BACK_SECONDS):
            said = f"pid {replica.pid} (replica-{replica.number}.log) lives, but has not taken part again"
            self.on_progress(f"{said} within {COME_BACK_SECONDS:g} s: killed")
            if self.records:
                self.records[-1] = replace(self.records[-1], target=f"{self.records[-1].target}; {said}")
            replica.signal(signal.SIGCONT)
            replica.signal(signal.SIGKILL)
            await replica.ended(KILL_TIMEOUT_SECONDS)
        await self.stage.replicas.replace_dead(self.stage.plan.replicas)

    async def _inject(self, planned: PlannedFault, leader: Leader) -> Sequence[InjectedFault]:
        """All parts of a fault, one right after the other. What had struck is healed if another comes to nothing."""
        draw = random.Random(planned.seed)
        struck: list[InjectedFault] = []
        try:
            for part in in_turn(planned.parts):
                struck.append(await FAULTS[part].inject(self.stage, leader, draw))
        except BaseException:
            for strike in struck:
                if strike.heal is not None:
                    await strike.heal()
            raise
        return struck

    async def _aftermath(self, planned: PlannedFault, leader: Leader, injected: Sequence[InjectedFault]) -> FaultRecord:
        """Heal each strike at its time while watching for the first fire."""
        injected_at = injected[0].at
        above_term = leader.term if ends_a_term(planned.parts) else -1
        within_seconds = max(strike.lasts_seconds for strike in injected) + FIRST_FIRE_SECONDS
        first, healed_at, *_ = await asyncio.gather(
            self.stage.first_fire(injected_at, above_term, within_seconds), self._heal(injected)
        )
        return _record(planned, leader, injected, healed_at, first)

    async def _heal(self, injected: Sequence[InjectedFault]) -> datetime | None:
        async def one(strike: InjectedFault) -> None:
            await asyncio.sleep(strike.lasts_seconds)
            if strike.heal is not None:
                await strike.heal()

        await asyncio.gather(*(one(strike) for strike in injected))
        lasted = any(strike.heal is not None or strike.lasts_seconds for strike in injected)
        healed_at = self.stage.clock.now() if lasted else None
        if not self.stage.replicas.should_take_part:
            # Nobody is left to take over: what is measured then is how soon a new one does.
            await self.stage.replicas.replace_dead(self.stage.plan.replicas)
        return healed_at

    async def settle_accounts(self) -> datetime:
        """The end: an instant up to which everything is to be accounted for, and a wait until it should be."""
        await self._end_the_absent()
        await self.stage.settled_leader(SETTLE_SECONDS)
        self.stage.commands.give("release")
        ended_at = self.stage.clock.now()
        self.on_progress("waiting until everything due so far has ended")
        if not await self.stage.accounted(ended_at, ACCOUNTED_SECONDS):
            self.on_progress(f"after {ACCOUNTED_SECONDS:g} s something due is still open: the record will show it")
        return ended_at


def _record(
    planned: PlannedFault,
    leader: Leader,
    injected: Sequence[InjectedFault],
    healed_at: datetime | None,
    first: FirstFire | None,
) -> FaultRecord:
    targets = [strike.target for strike in injected]
    if len(injected) > 1:
        targets = [f"{part}: {target}" for part, target in zip(in_turn(planned.parts), targets, strict=True)]
    return FaultRecord(
        number=planned.number,
        kind=planned.kind,
        target="; ".join(targets),
        hit_leader=any(strike.hit_leader for strike in injected),
        term_before=leader.term,
        injected_at=injected[0].at,
        healed_at=healed_at,
        first_fire_at=None if first is None else first.at,
        term_after=None if first is None else first.term,
        parts=planned.parts,
        failover=next((strike.failover for strike in injected if strike.failover is not None), None),
        clock_off_seconds=sum(strike.clock_off_seconds for strike in injected),
    )


def _told(record: FaultRecord) -> str:
    if record.first_fire_at is None or record.term_after is None:
        return f"{record.target}; nobody fired"
    gap_ms = (record.first_fire_at - record.injected_at) / timedelta(milliseconds=1)
    same = "the same term" if record.term_after == record.term_before else f"term {record.term_after}"
    return f"{record.target}; first fire after {gap_ms:.1f} ms, in {same}"
