"""`scheduler simulate`: what the schedules will do, before they do it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scheduler_core.cli.output import AsJson, console, print_json, with_container
from scheduler_core.cli.replica import load_app
from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.planning.plan import StoredJob
from scheduler_core.ports.runs import InvalidRow
from scheduler_core.service import declared_jobs
from scheduler_core.settings import load_settings

if TYPE_CHECKING:
    from scheduler_core.simulation.simulation import Simulation
    from scheduler_core.simulation.span import Span

CHUNK = 1_000


def simulate(
    days: Annotated[int, typer.Option(min=1, max=3_660, help="Whole days of local time.")] = 30,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day; today by default.")
    ] = None,
    app: Annotated[str | None, typer.Option(help="The jobs that this module declares, with @job.")] = None,
    file: Annotated[Path | None, typer.Option(help="The jobs of this TOML file, as `jobs import` reads it.")] = None,
    duration: Annotated[
        list[str] | None, typer.Option(metavar="JOB=SECONDS", help="How long a job's runs take; may be repeated.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Durations from the stored history: the 95th percentile of each job.")
    ] = False,
    timezone: Annotated[str | None, typer.Option(help="Of days and hours; the settings' by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fire the schedules over virtual days: where jobs meet, how many an hour, what overlaps, what DST does.

    Without --app and --file: the stored jobs. Nothing is called, nothing is changed.
    """
    from scheduler_core.simulation import document, simulation, span, workload

    if app is not None and file is not None:
        raise InvalidJobError("give --app or --file, not both")
    durations = _durations(duration or [])
    zone = timezone or load_settings().default_timezone
    first = since.date() if since is not None else _today(zone)
    whole = span.make_span(first, days, zone)
    stored, known = _gather(app, file, whole, history=history)
    unknown = sorted(durations.keys() - {job.job_id for job in stored})
    if unknown:
        raise InvalidJobError(f"--duration {unknown[0]}: there is no such job among the {len(stored)} simulated")
    known |= durations
    jobs = [workload.SimulatedJob(job, known.get(job.job_id)) for job in stored]
    found = simulation.simulate(jobs, whole)
    if as_json:
        print_json(document.as_document(found))
    else:
        _show(found)


def _today(zone: str) -> date:
    from scheduler_core.domain.schedule.zone import find_zone

    return datetime.now(UTC).astimezone(find_zone(zone).info).date()


def _durations(given: Sequence[str]) -> dict[str, float]:
    from scheduler_core.domain.jobs.fields import seconds

    durations: dict[str, float] = {}
    for text in given:
        # A job's id may hold an =; seconds don't.
        job_id, equals, number = text.rpartition("=")
        try:
            durations[job_id] = seconds()(float(number)) if equals else float("nan")
        except ValueError:
            equals = ""
        if not equals or not job_id:
            raise InvalidJobError(f"--duration {text!r}: write JOB=SECONDS, as report=90")
    return durations


def _gather(
    app: str | None, file: Path | None, span: Span, *, history: bool
) -> tuple[list[StoredJob], dict[str, float]]:
    """The jobs to simulate, and the durations that the history knows."""

    async def work(container: Container) -> tuple[list[StoredJob], dict[str, float]]:
        await container.check_schema()
        stored = await _stored(container) if app is None and file is None else _declared(app, file, span)
        return stored, await container.get_audit().usual_durations() if history else {}

    if history or (app is None and file is None):
        return with_container(work)
    return _declared(app, file, span), {}


async def _stored(container: Container) -> list[StoredJob]:
    jobs: list[StoredJob] = []
    last = ""
    while ids := await container.get_audit().job_ids(after=last, limit=CHUNK):
        for job in await container.get_storage().jobs.load(ids):
            if isinstance(job, InvalidRow):
                print(f"scheduler: job {job.job_id} is left out, its row can't be read: {job.problem}", file=sys.stderr)
            else:
                jobs.append(job)
        last = ids[-1]
    return jobs


def _declared(app: str | None, file: Path | None, span: Span) -> list[StoredJob]:
    """Jobs as if first stored at the span's begin."""
    from scheduler_core.jobs_file.reading import load_jobs
    from scheduler_core.simulation.workload import declared

    jobs: Sequence[ScheduleJob]
    if file is not None:
        jobs = load_jobs(file)
    else:
        assert app is not None
        load_app(app)
        jobs = declared_jobs()
    zone = load_settings().default_timezone
    return [declared(job.definition(zone), span.since) for job in jobs]


def _show(simulation: Simulation) -> None:
    from scheduler_core.simulation import picture_text, report

    # 80 columns wherever it goes: a log that is read later has no width.
    page: Any = console if sys.stdout.isatty() else Console(width=80)
    page.print(report.headline(simulation))
    page.print(picture_text.draw(simulation.load))
    page.print(report.render(simulation))
