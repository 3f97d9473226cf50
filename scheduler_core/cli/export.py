"""`scheduler runs export`: the history as CSV or JSON lines, to a file or a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from scheduler_core.cli.output import Statuses, console, with_container
from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidJobError, SchedulerError
from scheduler_core.domain.runs.export_lines import Format, header, renderer
from scheduler_core.domain.runs.run_filter import Selection
from scheduler_core.domain.schedule import parse_instant

STANDARD_OUTPUT = "-"


def export_runs(
    since: Annotated[str, typer.Option(help="From this instant on, in ISO 8601 (UTC unless it says).")],
    until: Annotated[str | None, typer.Option(help="Before this instant; now by default.")] = None,
    job: Annotated[str | None, typer.Option(help="Only this job's.")] = None,
    status: Statuses = None,
    kind: Annotated[
        Format, typer.Option("--format", case_sensitive=False, help="CSV, or one JSON document per line.")
    ] = Format.CSV,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A file, put in place when it is complete; - is standard output.")
    ] = STANDARD_OUTPUT,
) -> None:
    """Write the runs of a span, with all columns, day by day; within a day job by job. Memory stays constant."""
    first = parse_instant(since, "UTC")
    last = parse_instant(until, "UTC") if until is not None else None
    statuses = tuple(s.value for s in status) if status else None

    async def work(container: Container) -> int:
        await container.check_schema()
        end = last or await container.get_database().now()
        if end <= first:
            raise InvalidJobError(f"--since {since} is not before {until or 'now'}: give a span that holds something")
        selection = Selection(first, end, job, statuses)
        with _writing_to(output) as file:
            return await _write(container, selection, kind, file)

    count = with_container(work)
    if output != STANDARD_OUTPUT:
        console.print(f"{count:,} runs are in {_shown(output)}", markup=False)


async def _write(container: Container, selection: Selection, kind: Format, file: BinaryIO) -> int:
    """Write what is selected; returns how many runs. A reader that has had enough ends it, and is no error."""
    export = container.get_run_export()
    columns = await export.columns()
    render = renderer(kind, columns)
    days = await export.days(selection)
    count = 0
    with _progress() as progress:
        task = progress.add_task("", total=len(days), runs="0")
        try:
            file.write(header(kind, columns).encode())
            for day in days:
                async for page in export.pages(selection, day):
                    file.write(render(page).encode())
                    count += len(page)
                    progress.update(task, runs=f"{count:,}", description=f"{day}")
                progress.advance(task)
            file.flush()
        except BrokenPipeError:
            _forget_standard_output()
    return count


def _progress() -> Progress:
    """A bar over the days on standard error, if that is a terminal; nothing otherwise."""
    screen = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} days, {task.fields[runs]} runs"),
        TimeRemainingColumn(),
        console=screen,
        disable=not screen.is_terminal,
        transient=True,
    )


def _forget_standard_output() -> None:
    # The interpreter flushes standard output once more at its end, and would complain about the reader that left.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def _writing_to(output: str) -> Iterator[BinaryIO]:
    """Standard output, or a file beside the one asked for that takes its place when the block ends well."""
    try:
        if output == STANDARD_OUTPUT:
            # Not sys.stdout.buffer: unbuffered, it may write a part only.
            with open(sys.stdout.fileno(), "wb", closefd=False) as pipe:
                yield pipe
            return
        place = Path(output).resolve()
        if place.exists() and not place.is_file():
            raise InvalidJobError(f"{_shown(output)} is no file: name one, or redirect standard output")
        beside = place.with_name(f".{place.name[:200]}.{os.getpid()}")
        try:
            with beside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
    except SchedulerError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidJobError(f"{_shown(output)} can't be written ({reason}): give another place") from None


def _shown(output: str) -> str:
    if output == STANDARD_OUTPUT:
        return "standard output"
    return "".join(c if c.isprintable() else "�" for c in output)
