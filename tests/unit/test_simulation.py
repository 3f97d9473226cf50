"""The simulation against plain walking, and its overlaps against jobs that really run in virtual time."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import commands
import pytest
from rich.console import Console

from scheduler_core import RunStatus, ScheduleJob
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.planning.plan import StoredJob
from scheduler_core.simulation import load, picture_text, report, stampedes, workload
from scheduler_core.simulation.clock_changes import Effect
from scheduler_core.simulation.document import as_document
from scheduler_core.simulation.simulation import Simulation, simulate
from scheduler_core.simulation.span import make_span
from scheduler_core.testing import ManualScheduler, VirtualClock

BERLIN = "Europe/Berlin"


def stored(job_id: str, kind: str, value: Any, **fields: Any) -> StoredJob:
    calendars = tuple(fields.pop("found", ()))
    definition = ScheduleJob(job_id, job_id, kind, value, "a:b", **fields).definition(BERLIN)
    anchor = datetime(2026, 3, 1, tzinfo=UTC)
    made = workload.declared(definition, anchor)
    return StoredJob(made.definition, 1, anchor, made.schedule, None, calendars=calendars)


def simulated(*jobs: StoredJob, first: str = "2026-03-16", days: int = 30, **durations: float) -> Simulation:
    span = make_span(date.fromisoformat(first), days, BERLIN)
    return simulate([workload.SimulatedJob(job, durations.get(job.job_id)) for job in jobs], span)


MIXED = (
    stored("a", "daily", ["02:30", "09:00", "17:45:30"]),
    stored("b", "daily", "02:30", dst="skip"),
    stored("c", "daily", "02:30", dst="both"),
    stored("d", "cron", "*/7 8-18 * * mon-fri"),
    stored("e", "cron", "0 0 1 * *"),
    stored("f", "interval", 300),
    stored("g", "interval", 12.5),
    stored("h", "cron", "0 9 * * *", jitter=600),
    stored("i", "daily", "09:00", calendars=("c",), found=[Calendar("c", ["2026-03-20"], ["sat", "sun"])]),
    stored("j", "interval", 3600, start_at="2026-03-20T00:00Z", end_at="2026-03-25T00:00Z"),
    stored("k", "cron", "0 9 * * *", timezone="America/New_York"),
)


def walk(job: StoredJob, span: Any) -> list[datetime]:
    """The plain way, with none of the code under test but the schedule."""
    found, instant = [], job.schedule.next_after(span.since - timedelta(microseconds=1))
    while instant is not None and instant < span.until:
        if all(calendar.allows(instant, job.definition.timezone) for calendar in job.calendars):
            found.append(instant)
        instant = job.schedule.next_after(instant)
    return found


@pytest.mark.parametrize(("first", "days"), [("2026-03-16", 30), ("2026-10-20", 10)])
def test_the_load_is_that_of_walking(first: str, days: int) -> None:
    simulation = simulated(*MIXED, first=first, days=days)
    expected: Counter[tuple[date, int]] = Counter()
    for job in MIXED:
        for instant in walk(job, simulation.span):
            local = simulation.span.local(instant)
            expected[local.date(), local.hour] += 1
    found = {
        (day.date, hour): count
        for day, hours in zip(simulation.span.days, simulation.load.fires, strict=True)
        for hour, count in enumerate(hours)
        if count
    }
    assert found == expected


@pytest.mark.parametrize("budget", [10**6, 5_000])
def test_the_greatest_stampedes_are_those_of_walking(budget: int) -> None:
    """With a small budget the frequent jobs are not walked, and are found all the same where others meet."""
    jobs = [job for job in MIXED if job.definition.jitter == 0]
    span = make_span(date(2026, 3, 16), 30, BERLIN)
    busy = workload.workloads([workload.SimulatedJob(job) for job in jobs])
    found = stampedes.find_stampedes(busy, span, 5, budget)
    seconds: Counter[datetime] = Counter()
    for job in jobs:
        seconds.update({instant.replace(microsecond=0) for instant in walk(job, span)})
    assert found.steady_jobs == (0 if budget > 5_000 else 2)
    for stampede in found.top:
        assert seconds[stampede.instant] == stampede.count == len(stampede.jobs)
    assert found.top[0].count == max(seconds.values())


def test_days_count_how_often_the_same_jobs_meet() -> None:
    (top,) = simulated(stored("a", "daily", "09:00"), stored("b", "cron", "0 9 * * mon")).stampedes.top
    assert (top.count, top.days) == (2, 5)


def test_jobs_of_one_schedule_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [workload.SimulatedJob(stored(f"j{n}", "cron", "*/5 * * * *")) for n in range(50)]
    assert [group.weight for group in workload.workloads(jobs)] == [50]
    jittered = [workload.SimulatedJob(stored(f"j{n}", "cron", "*/5 * * * *", jitter=9)) for n in range(3)]
    assert len(workload.workloads(jittered)) == 3


def test_a_job_of_every_second_is_counted_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Counter[str]()
    original = workload.Workload.walk

    def counted(self: workload.Workload, *bounds: Any) -> Any:
        for instant in original(self, *bounds):
            steps["walked"] += 1
            yield instant

    monkeypatch.setattr(workload.Workload, "walk", counted)
    simulation = simulated(stored("s", "interval", 1), days=30)
    assert simulation.load.total == simulation.span.seconds
    assert steps["walked"] == 0


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow"])
@pytest.mark.parametrize("seconds", [30, 60, 61, 150, 180])
async def test_overlaps_are_those_of_jobs_that_run(overlap: str, seconds: int) -> None:
    """Hours of one job with pauses between bursts, played by the simulation and by the scheduler itself."""
    job = ScheduleJob("j", "J", "cron", "0-20 * * * *", lambda: None, overlap=overlap, timezone="UTC")
    span = make_span(date(2026, 1, 1), 1, "UTC")
    made = workload.declared(job.definition("UTC"), span.since)
    clashes = simulate([workload.SimulatedJob(made, seconds)], span).clashes

    async with ManualScheduler(VirtualClock(span.since - timedelta(seconds=1))) as scheduler:

        async def lasts() -> None:
            await scheduler.clock.sleep(seconds)

        job.callback = lasts
        await scheduler.add_job(job)
        await scheduler.advance_to(span.until - timedelta(seconds=1))
        # What the job can't do in its time it would not do afterwards either: let it come to rest.
        await scheduler.pause("j")
        await scheduler.run_until_idle()
        runs = [run for run in scheduler.runs if run.scheduled_for < span.until]
    skipped = sum(1 for run in runs if run.status is RunStatus.SKIPPED)
    waits = [run.lateness.total_seconds() for run in runs if run.lateness]
    if not clashes:
        assert seconds <= 60
        assert (skipped, waits) == (0, [])
        return
    (clash,) = clashes
    assert (clash.runs, clash.skipped) == (len(runs) - skipped, skipped)
    assert (clash.queued, clash.longest_wait_seconds) == (len(waits), max(waits, default=0))
    assert clash.peak == (-(-seconds // 60) if overlap == "allow" else 1)


def test_what_the_clocks_do_to_wall_times() -> None:
    jobs = [job for job in MIXED if job.job_id in "abcd"]
    spring = {change.effect: change for change in simulated(*jobs).clock_changes}
    assert {effect: [job.job_id for job in change.jobs] for effect, change in spring.items()} == {
        Effect.MOVED: ["a", "c"],
        Effect.SKIPPED: ["b"],
    }
    assert spring[Effect.MOVED].instant == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert (spring[Effect.MOVED].shift_seconds, spring[Effect.MOVED].wall_times) == (3600, 2)
    autumn = {change.effect: change for change in simulated(*jobs, first="2026-10-20").clock_changes}
    assert {effect: [job.job_id for job in change.jobs] for effect, change in autumn.items()} == {
        Effect.DOUBLED: ["c"],
        Effect.ONCE: ["a", "b"],
    }


def test_gaps_are_exact_and_silent_jobs_have_reasons() -> None:
    found = simulated(
        stored("a", "daily", ["09:00", "10:30:20"], timezone="UTC"),
        stored("b", "daily", "12:00", enabled=False),
        stored("c", "once", "2030-01-01T00:00Z"),
        stored("d", "daily", "12:00", calendars=("none",)),
        days=3,
    )
    assert [(gap.since.isoformat(), gap.until.isoformat()) for gap in found.gaps[:1]] == [
        ("2026-03-16T10:30:20+00:00", "2026-03-17T09:00:00+00:00")
    ]
    assert found.silent == {"b": "disabled", "c": "not due in this span", "d": "waits for the calendar none"}


def test_advice_helps() -> None:
    jobs = [stored(f"j{n}", "daily", "02:00") for n in range(40)]
    advice = simulated(*jobs).advice[0]
    assert advice.fields == {"jitter": 120}
    assert len(advice.jobs) == 40
    spread = [stored(f"j{n}", "daily", "02:00", jitter=120) for n in range(40)]
    assert max((stampede.count for stampede in simulated(*spread).stampedes.top), default=0) <= 6
    intervals = [stored(f"i{n}", "interval", 60) for n in range(6)]
    assert simulated(*intervals).advice[0].fields == {"start_at_apart_seconds": 10.0}
    (busy,) = simulated(stored("q", "interval", 60, overlap="queue"), q=90).advice
    assert "150%" in busy.text


@pytest.mark.parametrize("days", [1, 30, 200])
@pytest.mark.parametrize("jobs", [(), MIXED])
def test_the_pictures_are_drawn(jobs: tuple[StoredJob, ...], days: int) -> None:
    simulation = simulated(*jobs, days=days, f=400.0, g=1.0)
    console = Console(width=80, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        for part in (report.headline(simulation), picture_text.draw(simulation.load), report.render(simulation)):
            console.print(part)
        text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert sum(line.startswith(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")) for line in text.splitlines()) >= min(
        days, picture_text.MOST_ROWS // 2
    )
    assert json.dumps(as_document(simulation), default=str)


def test_shades_tell_the_quiet_from_the_busy() -> None:
    shades = picture_text.Shades(simulated(*MIXED).load)
    assert [shades.level(count) for count in (0, shades.low, shades.high)] == [0, 1, 8]


APP = """
from scheduler_core import job

@job("report", daily="02:00", timezone="Europe/Berlin")
def report(): ...

@job("sync", every=300, overlap="queue")
def sync(): ...
"""


def command(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "app_of_simulate.py").write_text(APP)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SCHEDULER_")}
    environment["SCHEDULER_TIMEZONE"] = "UTC"
    done = commands.as_text(commands.scheduler("simulate", *words, environment=environment, folder=folder))
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def test_the_command_needs_no_server_for_declared_jobs(tmp_path: Path) -> None:
    words = ("--app", "app_of_simulate", "--from", "2026-03-28", "--days", "3", "--duration", "sync=400")
    found = json.loads(command(tmp_path, *words, "--json").stdout)
    assert (found["jobs"], found["days"], found["timezone"], found["fires"]) == (2, 3, "UTC", 866)
    assert found["overlaps"][0]["job_id"] == "sync"
    assert found["clock_changes"][0]["effect"] == "moved"
    shown = command(tmp_path, *words).stdout
    assert "Sat 2026-03-28" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--duration", "sync"), "JOB=SECONDS"),
        (("--duration", "sync=soon"), "JOB=SECONDS"),
        (("--duration", "nobody=3"), "no such job"),
        (("--timezone", "Mars/Olympus"), "Mars/Olympus"),
        (("--file", "jobs.toml"), "not both"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    done = command(tmp_path, "--app", "app_of_simulate", *words, code=2)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_of_jobs_is_simulated(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text('[jobs.a]\ncallback = "a:b"\ndaily = "09:00"\n')
    found = json.loads(command(tmp_path, "--file", "jobs.toml", "--days", "4", "--json").stdout)
    assert found["fires"] == 4


def test_levels_of_an_even_load() -> None:
    even = load.Load(make_span(date(2026, 1, 1), 1, "UTC"), ((5,) * 24,))
    assert {picture_text.Shades(even).level(5)} == {4}


@pytest.mark.parametrize(("first", "days"), [("9999-12-31", 1), ("9890-01-01", 3660)])
def test_days_that_no_schedule_knows_are_refused(first: str, days: int) -> None:
    with pytest.raises(InvalidScheduleError, match="begin before 9900"):
        make_span(date.fromisoformat(first), days, BERLIN)
