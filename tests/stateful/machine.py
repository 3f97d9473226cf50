"""The steps, as rules of a state machine, and what is asked after each."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from psycopg.rows import namedtuple_row

from scheduler_core import Calendar, Container, ScheduleJob, load_settings
from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.domain.errors import CalendarInUseError, JobNotFoundError, JobVersionNotFoundError, RunStateError
from scheduler_core.domain.jobs.job import JobDefinition

from .hand_led import CALLBACK, CallbackFailedError, HandClock, HandLed, WatchedDatabase
from .model import FIRED, Job, Model, Spec
from .standing_clock import START, StandingClock

JOB_IDS = ("a", "b", "c")
CALENDARS = ("x", "y")
UNFINISHED = frozenset({"pending", "queued", "running", "retrying"})
COUNTS = frozenset({"succeeded", "failed", "lost"})
"""How runs end that `run_count` counts."""

NO_FAILURE = frozenset({"cancelled", "lost"})
"""How attempts end that `error_count` does not count."""

OPERATOR = Actor(Source.CLI, "somebody")

SPECS = st.builds(
    Spec,
    seconds=st.sampled_from((60, 10, 3600)),
    at=st.sampled_from((*[None] * 5, START + timedelta(seconds=95.25), START + timedelta(seconds=4000.25))),
    name=st.sampled_from(("A", "B")),
    enabled=st.sampled_from((*[True] * 5, False)),
    misfire=st.sampled_from(("latest", "all", "skip")),
    overlap=st.sampled_from(("allow", "skip", "queue")),
    delivery=st.sampled_from(("at_least_once", "at_most_once")),
    max_retries=st.sampled_from((0, 1)),
    disable_after=st.sampled_from((None, 1)),
    calendar=st.sampled_from((None, None, *CALENDARS)),
)
ANY = st.integers(0, 50)
"""Which of those that there are."""


class Servers:
    """What all examples of a test share: a database, an event loop, connections."""

    def __init__(self, database_url: str, sql: psycopg.Connection[Any]) -> None:
        self.sql = sql
        self.clock = StandingClock(sql)
        self.runner = asyncio.Runner()
        self.container = Container(
            load_settings(
                database_url=database_url,
                redis_url="redis://127.0.0.1:1",
                timezone="UTC",
                clock_jump_limit=0,
                allowed_callbacks=[CALLBACK.partition(":")[0]],
            )
        )
        self.runner.run(self.container.prepare())
        self.clock.bind_schema()
        # Each example begins with nothing.
        sql.execute("ALTER TABLE scheduler.job_changes DISABLE TRIGGER append_only")
        self.watched = WatchedDatabase(self.container._servers.engine())

    def empty(self) -> None:
        """Leave nothing of an example."""
        for table in ("jobs", "runs", "attempts", "failed_attempts", "calendars", "job_changes"):
            self.sql.execute(f"DELETE FROM scheduler.{table}")
        self.clock.begin_anew()

    def close(self) -> None:
        self.runner.run(self.container.close())
        self.runner.close()


class Machine(RuleBasedStateMachine):
    """Parameters: servers, that it has for itself."""

    def __init__(self, servers: Servers) -> None:
        super().__init__()
        self.servers = servers
        servers.empty()
        self.model = Model()
        container = servers.container
        self.operations = container.get_operations(OPERATOR)
        self.run_operations = container.get_run_operations()
        self.calendars = container.get_calendars(OPERATOR)
        self.replica = HandLed(container, servers.sql, servers.watched)
        self.do(self.replica.lead(HandClock(START)))
        self.runs: dict[UUID, Any] = {}
        self.failures: set[tuple[Any, ...]] = set()
        self.before: dict[str, tuple[set[UUID], set[tuple[Any, ...]]]] = {}
        """What had ended, and failed, when a job was added: its row counts what came after."""
        self.asked_for: set[UUID] = set()
        """The runs that somebody triggered, or had run again."""

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """One step, to its end."""

        return self.servers.runner.run(work)

    def teardown(self) -> None:
        self.do(self.replica.die())

    def now(self) -> datetime:
        return self.servers.clock.now()

    # Jobs.

    @initialize(spec=SPECS, count=st.integers(1, 3))
    def begin(self, spec: Spec, count: int) -> None:
        """Jobs that fire, and calendars that they may name."""
        for name in CALENDARS:
            self.put_calendar(name, 30, 120)
        for job_id in JOB_IDS[:count]:
            self.put(job_id, replace(spec, enabled=True))

    @rule(job_id=st.sampled_from(JOB_IDS), spec=SPECS)
    def put(self, job_id: str, spec: Spec) -> None:
        """Add the job, or edit it."""
        if spec.calendar not in self.model.calendars:
            spec = replace(spec, calendar=None)
        now = self.now()
        if job_id not in self.model.jobs:
            self.do(self.operations.add(definition_of(job_id, spec)))
            self.model.added(job_id, spec, self.anchor(job_id, now))
            self.before[job_id] = self.ended(job_id), {f for f in self.failures if f[0] == job_id}
        else:
            self.edit(job_id, spec, now)
        self.replica.hear(job_id)

    def edit(self, job_id: str, spec: Spec, now: datetime) -> None:
        job = self.model.jobs[job_id]
        changed = self.do(self.operations.edit(definition_of(job_id, spec), seen=None))
        assert changed == (spec != self.canonical(job.spec, spec))
        if changed:
            self.model.edited(job_id, spec, now)
            if job.anchor == now:
                job.anchor = self.anchor(job_id, now)
                job.cursor = job.first(now) if spec.enabled else None

    def canonical(self, old: Spec, new: Spec) -> Spec:
        """Of a job that runs once it does not matter how often it would, otherwise."""
        return replace(old, seconds=new.seconds) if old.at is not None and new.at is not None else old

    @precondition(lambda self: self.model.jobs)
    @rule(which=ANY, seconds=st.sampled_from((None, None, 30.5, 600.5)))
    def pause(self, which: int, seconds: float | None) -> None:
        job_id = self.one_of(self.model.jobs, which)
        now = self.now()
        until = None if seconds is None else now + timedelta(seconds=seconds)
        self.do(self.operations.pause(job_id, until=until))
        self.model.paused(job_id, until, now)
        self.replica.hear(job_id)

    @precondition(lambda self: self.model.jobs)
    @rule(which=ANY)
    def resume(self, which: int) -> None:
        job_id = self.one_of(self.model.jobs, which)
        now = self.now()
        self.do(self.operations.resume(job_id))
        self.model.resumed(job_id, now)
        self.replica.hear(job_id)

    @precondition(lambda self: self.model.jobs)
    @rule(which=ANY)
    def remove(self, which: int) -> None:
        job_id = self.one_of(self.model.jobs, which)
        now = self.now()
        self.do(self.operations.remove(job_id))
        self.model.removed(job_id, now)
        self.replica.hear(job_id)

    @precondition(lambda self: self.model.jobs)
    @rule(which=ANY, version=ANY)
    def revert(self, which: int, version: int) -> None:
        job_id = self.one_of(self.model.jobs, which)
        job, definitions = self.model.jobs[job_id], self.model.definitions[job_id]
        version = 1 + version % job.version
        spec, now = definitions.get(version), self.now()
        if spec is None:
            with pytest.raises(JobVersionNotFoundError):
                self.do(self.operations.revert(job_id, version))
            return
        if spec.calendar is not None and spec.calendar not in self.model.calendars:
            return
        changed = self.do(self.operations.revert(job_id, version))
        assert changed == (spec != self.canonical(job.spec, spec))
        if changed:
            self.model.edited(job_id, spec, now, "reverted")
            if job.anchor == now:
                job.anchor = self.anchor(job_id, now)
                job.cursor = job.first(now) if spec.enabled else None
        self.replica.hear(job_id)

    # Runs.

    @precondition(lambda self: self.model.jobs)
    @rule(which=ANY)
    def trigger(self, which: int) -> None:
        job_id = self.one_of(self.model.jobs, which)
        run = self.do(self.operations.trigger(job_id))
        assert run.definition_version == self.model.jobs[job_id].version
        self.asked_for.add(run.run_id)

    @precondition(lambda self: self.runs)
    @rule(which=ANY)
    def rerun(self, which: int) -> None:
        run = self.runs[self.one_of(self.runs, which)]
        if run.status in UNFINISHED:
            with pytest.raises(RunStateError):
                self.do(self.run_operations.rerun(run.run_id))
        elif run.job_id not in self.model.jobs:
            with pytest.raises(JobNotFoundError):
                self.do(self.run_operations.rerun(run.run_id))
        else:
            again = self.do(self.run_operations.rerun(run.run_id))
            assert again.definition_version == self.model.jobs[run.job_id].version
            self.asked_for.add(again.run_id)

    @precondition(lambda self: any(run.status in UNFINISHED for run in self.runs.values()))
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        run = self.runs[self.one_of([i for i, run in self.runs.items() if run.status in UNFINISHED], which)]
        answer = self.do(self.run_operations.cancel(run.run_id))
        assert answer.status.value == ("running" if run.status == "running" else "cancelled")

    @precondition(lambda self: any(run.cancel_requested_at for run in self.runs.values()) and self.replica.calls)
    @rule()
    def look_for_cancels(self) -> None:
        self.do(self.replica.look_for_cancels())

    @precondition(lambda self: self.model.jobs)
    @rule(which=ANY, count=st.integers(0, 3))
    def backfill(self, which: int, count: int) -> None:
        job_id = self.one_of(self.model.jobs, which)
        job, now = self.model.jobs[job_id], self.now()
        start = now - timedelta(seconds=job.spec.seconds * count)
        made = self.do(self.run_operations.backfill(job_id, start, now))
        taken = {run.scheduled_for for run in self.runs.values() if run.job_id == job_id and run.status != "missed"}
        wanted = [i for i in job.occurrences(start, now) if not self.model.excludes(job.spec.calendar, i)]
        assert list(made.to_make) == [instant for instant in wanted if instant not in taken]
        self.model.fates[job_id] |= dict.fromkeys(made.to_make, FIRED)

    # Calendars.

    @rule(name=st.sampled_from(CALENDARS), begins=st.sampled_from((0, 30, 600)), lasts=st.sampled_from((25, 120, 4000)))
    def put_calendar(self, name: str, begins: int, lasts: int) -> None:
        begin = self.now() + timedelta(seconds=begins + 0.5)
        period = begin, begin + timedelta(seconds=lasts)
        self.do(self.calendars.put(Calendar(name, excluded_periods=[period])))
        self.model.calendars[name] = period
        for row in self.ask("SELECT job_id, version FROM scheduler.jobs"):
            job = self.model.jobs[row.job_id]
            if row.version != job.version:
                assert job.spec.calendar == name
                assert not job.is_paused(self.now())
                self.model.renumbered(row.job_id)

    @precondition(lambda self: self.model.calendars)
    @rule(which=ANY)
    def remove_calendar(self, which: int) -> None:
        name = self.one_of(self.model.calendars, which)
        if any(job.spec.calendar == name for job in self.model.jobs.values()):
            with pytest.raises(CalendarInUseError):
                self.do(self.calendars.remove(name))
        else:
            self.do(self.calendars.remove(name))
            del self.model.calendars[name]

    # The leader, and time.

    @precondition(lambda self: self.model.jobs)
    @rule(seconds=st.sampled_from((1, 7, 61, 600, 3700)))
    def let_pass(self, seconds: float) -> None:
        self.servers.clock.move(seconds)
        self.do(self.replica.let_pass(self.now()))

    @precondition(lambda self: self.model.jobs)
    @rule(seconds=st.sampled_from((0, 60, 61, 600)))
    def look(self, seconds: float) -> None:
        self.servers.clock.move(seconds)
        self.do(self.replica.let_pass(self.now()))
        now = self.now()
        self.do(self.replica.look())
        self.model.looked(now)

    @precondition(lambda self: self.replica.calls)
    @rule()
    def mark_running(self) -> None:
        self.do(self.replica.mark_running())

    @precondition(lambda self: self.replica.calls)
    @rule(which=ANY, fails=st.booleans())
    def end_call(self, which: int, fails: bool) -> None:
        run_id = self.one_of(self.replica.calls, which)
        before = self.runs[run_id]
        self.do(self.replica.end_call(run_id, CallbackFailedError("so it was to be") if fails else None))
        (after,) = self.ask("SELECT * FROM scheduler.runs WHERE run_id = %s", run_id)
        version = before.definition_version
        retries = self.model.definitions[before.job_id][version].max_retries
        if before.status == "cancelled":
            assert after.status == "cancelled"
        elif not fails:
            assert after.status == "succeeded"
        elif before.attempt < retries:
            assert after.status == ("cancelled" if before.cancel_requested_at else "retrying")
        else:
            assert after.status == "failed"
            self.see_disabling(before.job_id)

    def see_disabling(self, job_id: str) -> None:
        """One whose runs fail too often in a row."""
        job = self.model.jobs.get(job_id)
        if job is not None and job.spec.disable_after == 1 and not job.auto_disabled:
            self.model.disabled_itself(job_id)

    @precondition(lambda self: self.runs)
    @rule()
    def die(self) -> None:
        """The leader is killed, and another one leads."""
        clock = self.replica.clock

        async def succeed() -> None:
            await self.replica.die()
            await self.replica.lead(HandClock(clock.now()))

        self.do(succeed())

    # What is asked after each.

    @invariant()
    def agrees(self) -> None:
        now = self.now()
        self.runs = {run.run_id: run for run in self.ask("SELECT * FROM scheduler.runs ORDER BY scheduled_for, job_id")}
        self.failures = {
            (a.job_id, a.run_id, a.attempt, a.term, a.outcome)
            for a in self.ask("SELECT * FROM scheduler.attempts WHERE NOT late")
            if a.outcome not in NO_FAILURE
        }
        rows = {row.job_id: row for row in self.ask("SELECT * FROM scheduler.jobs")}
        assert rows.keys() == self.model.jobs.keys()
        for job_id, job in self.model.jobs.items():
            self.model.skipped_ahead(job_id, rows[job_id].next_run, now)
            self.check_job(job_id, job, rows[job_id], now)
        assert {i for i, run in self.runs.items() if run.origin in ("trigger", "rerun")} == self.asked_for
        assert {row.name for row in self.ask("SELECT name FROM scheduler.calendars")} == self.model.calendars.keys()
        for job_id in self.model.fates:
            self.check_occurrences(job_id)
        self.check_log()
        self.check_audit()

    def check_job(self, job_id: str, job: Job, row: Any, now: datetime) -> None:
        assert (row.version, row.next_run) == (job.version, job.cursor), job_id
        assert (row.paused_at is not None, row.paused_until) == (job.paused, job.paused_until)
        assert (row.auto_disabled_at is not None, row.enabled) == (job.auto_disabled, job.spec.enabled)
        if not job.is_live(now):
            waits_for_end = job.paused and job.spec.enabled and not job.auto_disabled
            assert row.due_at == (job.paused_until if waits_for_end else None), job_id
        ended, failures = self.before[job_id]
        assert row.run_count == len(self.ended(job_id) - ended), job_id
        assert row.error_count == len({f for f in self.failures if f[0] == job_id} - failures), job_id

    def check_occurrences(self, job_id: str) -> None:
        """Each is accounted for as it should be, and nothing else fires."""
        fates = self.model.fates[job_id]
        of_it = [run for run in self.runs.values() if run.job_id == job_id]
        own = {run.scheduled_for: run for run in of_it if run.status != "missed" and run.missed_count is None}
        counting = [run for run in of_it if run.status == "missed" or run.missed_count is not None]
        for instant, fate in fates.items():
            if fate == FIRED:
                assert any(r.scheduled_for == instant and r.status != "missed" for r in of_it), (job_id, instant)
                continue
            if fate == "calendar" and instant in own:
                assert own[instant].reason == "calendar"
                continue
            by = [run for run in counting if (run.missed_from or run.scheduled_for) <= instant <= run.scheduled_for]
            assert by, (job_id, instant, fate)
            assert any(run.reason == fate or run.origin == "backfill" for run in by), (job_id, instant, fate, by)
        for run in own.values():
            if run.origin == "schedule" and run.reason != "calendar":
                assert fates.get(run.scheduled_for) == FIRED, (job_id, run.scheduled_for, run.status, run.reason)

    def check_log(self) -> None:
        told: dict[str, list[tuple[int, str]]] = {}
        for change in self.ask("SELECT * FROM scheduler_audit.job_changes ORDER BY job_id, version"):
            told.setdefault(change.job_id, []).append((change.version, change.action))
        assert told == {job_id: list(enumerate(actions, 1)) for job_id, actions in self.model.log.items()}

    def check_audit(self) -> None:
        async def ask() -> tuple[Any, Any]:
            auditor = self.servers.container.get_auditor()
            return await auditor.gaps(AuditFilter(since=START)), await auditor.duplicates(AuditFilter(since=START))

        report, duplicates = self.do(ask())
        assert (report.gaps, report.unchecked, duplicates) == ([], [], [])

    # Looking.

    def ended(self, job_id: str) -> set[UUID]:
        return {i for i, run in self.runs.items() if run.job_id == job_id and run.status in COUNTS}

    def anchor(self, job_id: str, since: datetime) -> datetime:
        """From when the job counts, which is no earlier than it was told to."""
        (row,) = self.ask("SELECT anchor FROM scheduler.jobs WHERE job_id = %s", job_id)
        assert since <= row.anchor <= self.now()
        anchor: datetime = row.anchor
        return anchor

    def ask(self, question: str, *values: Any) -> list[Any]:
        with self.servers.sql.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(question, values).fetchall()

    @staticmethod
    def one_of(found: Any, which: int) -> Any:
        listed = sorted(found) if not isinstance(found, (list, dict)) else list(found)
        return listed[which % len(listed)]


def definition_of(job_id: str, spec: Spec) -> JobDefinition:
    kind, value = ("once", spec.at.isoformat()) if spec.at is not None else ("interval", spec.seconds)
    return ScheduleJob(
        job_id,
        spec.name,
        kind,
        value,
        CALLBACK,
        enabled=spec.enabled,
        misfire=spec.misfire,
        misfire_grace=spec.misfire_grace,
        catch_up_limit=spec.catch_up_limit,
        overlap=spec.overlap,
        delivery=spec.delivery,
        max_retries=spec.max_retries,
        disable_after=spec.disable_after,
        calendars=[spec.calendar] if spec.calendar is not None else [],
    ).definition("UTC")


@contextmanager
def playing(servers: Servers) -> Iterator[Machine]:
    """A machine whose steps are played by hand."""
    machine = Machine(servers)
    try:
        yield machine
    finally:
        machine.teardown()
