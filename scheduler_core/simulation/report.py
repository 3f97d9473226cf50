"""A simulation for people, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler_core.domain.jobs.policies import Overlap
from scheduler_core.domain.wording import in_words
from scheduler_core.simulation.clock_changes import ClockChange, Effect
from scheduler_core.simulation.overlaps import Clash
from scheduler_core.simulation.simulation import Simulation
from scheduler_core.simulation.span import Span
from scheduler_core.simulation.workload import SimulatedJob

SHOWN = 8
"""Rows of one kind; --json has all."""

SAYS = {
    Effect.SKIPPED: "not shown that day, skipped",
    Effect.MOVED: "not shown that day, fire after the jump",
    Effect.DOUBLED: "shown twice, fire twice",
    Effect.ONCE: "shown twice, fire the first time",
}


def _facts(simulation: Simulation) -> list[str]:
    span, load = simulation.span, simulation.load
    busiest, hour = load.busiest
    parts = [f"from {span.days[0].date.isoformat()} on, {span.timezone}"]
    if load.total:
        parts.append(f"busiest hour {busiest.date.isoformat()} {hour:02}:00 with {load.highest:,}")
    if simulation.stampedes.top:
        greatest = simulation.stampedes.top[0]
        parts.append(f"{greatest.count} jobs at once at {_when(span, greatest.instant)}")
    return parts


def render(simulation: Simulation) -> RenderableType:
    """What was found, below the picture."""
    return Group(*_sections(simulation))


def headline(simulation: Simulation) -> RenderableType:
    """The lines above the picture."""
    days = _many(len(simulation.span.days), "day")
    title = f"{_many(simulation.load.total, 'fire')} of {_many(simulation.jobs, 'job')} in {days}"
    return Group(Text(title, style="bold"), *(Text(fact, style="dim") for fact in _facts(simulation)), Text())


def _sections(simulation: Simulation) -> Iterator[RenderableType]:
    span = simulation.span
    if simulation.stampedes.top:
        yield _table(
            "most jobs at once",
            ("at", "jobs", "days", "who"),
            [
                (_when(span, s.instant), f"{s.count:,}", f"{s.days:,}", _names(s.jobs))
                for s in simulation.stampedes.top[:SHOWN]
            ],
        )
        if steady := simulation.stampedes.steady_jobs:
            yield Text(f"{_many(steady, 'job')} of many fires: asked about these instants and full hours.", style="dim")
    yield from _overlaps(simulation)
    if simulation.clock_changes:
        rows = [_change(span, change) for change in simulation.clock_changes[:SHOWN]]
        yield _table("clock changes", ("at", "clocks", "wall times", "who"), rows)
    if simulation.gaps:
        rows = [
            (_when(span, gap.since), _when(span, gap.until), in_words(gap.seconds)) for gap in simulation.gaps[:SHOWN]
        ]
        yield _table("nothing is due", ("from", "until", "for"), rows)
    if simulation.silent:
        rows = [(job_id, reason) for job_id, reason in list(simulation.silent.items())[:SHOWN]]
        yield _table(f"{_many(len(simulation.silent), 'job')} not firing", ("job", "why"), rows)
    if simulation.advice:
        yield Text("\nsuggestions", style="bold")
        for advice in simulation.advice[:SHOWN]:
            yield Text(f"- {advice.text}\n  {_names(advice.jobs, 60)}")


def _overlaps(simulation: Simulation) -> Iterator[RenderableType]:
    if not simulation.known_durations:
        return
    if not simulation.clashes:
        yield Text(f"\nno overlap among {_many(simulation.known_durations, 'job')} of known duration", style="green")
        return
    rows = [_clash(simulation.span, clash) for clash in simulation.clashes[:SHOWN]]
    title = f"{_many(len(simulation.clashes), 'job')} of {simulation.known_durations:,} overlapping"
    yield _table(title, ("job", "lasts", "first", "so it"), rows)


def _clash(span: Span, clash: Clash) -> tuple[str, ...]:
    due = clash.runs + clash.skipped
    match clash.overlap:
        case Overlap.SKIP:
            outcome = f"skips {clash.skipped:,} of {due:,}"
        case Overlap.QUEUE:
            outcome = f"queues {clash.queued:,} of {due:,}, the longest {in_words(clash.longest_wait_seconds)}"
        case _:
            outcome = f"runs {clash.peak:,} times at once"
    if clash.played_until < span.until:
        outcome += f" until {span.local(clash.played_until):%m-%d}"
    return clash.job.job_id, in_words(clash.job.duration_seconds or 0), _when(span, clash.first_at), outcome


def _change(span: Span, change: ClockChange) -> tuple[str, ...]:
    hours = f"{'forward' if change.shift_seconds > 0 else 'back'} {in_words(abs(change.shift_seconds))}"
    return _when(span, change.instant), hours, f"{change.wall_times:,} {SAYS[change.effect]}", _names(change.jobs)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right" if heading in {"jobs", "days"} else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return Group(Text(f"\n{title}", style="bold"), table)


def _names(jobs: Sequence[SimulatedJob], width: int = 36) -> str:
    """As many names as fit."""
    shown = ""
    for number, job in enumerate(jobs):
        longer = f"{shown}, {job.job_id}" if shown else job.job_id
        if shown and len(longer) > width:
            return f"{shown} and {len(jobs) - number:,} more"
        shown = longer
    return shown


def _when(span: Span, instant: datetime) -> str:
    return f"{span.local(instant):%a %m-%d %H:%M:%S}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
