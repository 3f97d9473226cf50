"""`scheduler jobs import`, `export` and `prune`: jobs in a file, and the difference to those that are stored."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from scheduler_core.admin.proposal import Proposal, Propose, Stored, annotate, carry_out, propose_import, read_stored
from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.cli.replica import import_from_here, load_app
from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.callback import is_importable_reference
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.jobs_file.difference import Difference, compare, undeclared
from scheduler_core.jobs_file.reading import (
    MOST_BYTES,
    check_size,
    load_jobs,
    parse_jobs,
    plain_name,
    read_file,
)
from scheduler_core.jobs_file.writing import dump_jobs
from scheduler_core.service import declared_jobs

MOST_ROWS = 1_000
"""A table longer than this is read by nobody; --json has all."""

COLUMNS = ("change", "job_id", "field", "old", "new")
STANDARD_INPUT = "-"

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
App = Annotated[str | None, typer.Option(help="A module whose @job declarations are to stay too.")]


def import_jobs(
    file: Annotated[str, typer.Argument(help="A TOML file of jobs, or - for standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove the jobs that the file does not declare.")] = False,
    app: App = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make the stored jobs those of a file: show what changes, ask, change it.

    Without a terminal to ask on, or with --dry-run or --json, it only shows, and ends with 1 if anything differs;
    --yes changes it without asking. Replicas must know the callbacks, or allow them by `allowed_callbacks`.
    """
    source = _name(file)
    jobs = _read(file)
    kept = declared_by(app) if app is not None else None
    import_from_here()

    async def propose(container: Container) -> Proposal:
        return await propose_import(container, jobs, source, prune=prune, kept=kept)

    _settle(propose, apply_it=yes and not dry_run, only_show=dry_run, as_json=as_json)


def export_jobs(
    file: Annotated[str, typer.Argument(help="Where to write; - is standard output.")] = STANDARD_INPUT,
) -> None:
    """Write the stored jobs as a TOML file, which `import` reads back exactly."""

    async def work(container: Container) -> Stored:
        await container.check_schema()
        return await read_stored(container)

    stored = with_container(work)
    # A file without it would remove it where it is imported with --prune.
    stored.require(stored.unreadable)
    content = dump_jobs(stored.definitions.values()).encode()
    left_out = [d.job_id for d in stored.definitions.values() if not is_importable_reference(d.callback)]
    if file == STANDARD_INPUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        _write(file, content)
        console.print(f"{len(stored.definitions) - len(left_out)} jobs are in {plain_name(file)}", markup=False)
    if left_out:
        print(
            f"scheduler: left out, because they call a lambda or a local function, which no file can name: "
            f"{', '.join(map(repr, left_out[:10]))}{' and more' if len(left_out) > 10 else ''}",
            file=sys.stderr,
        )


def prune_jobs(
    app: Annotated[str | None, typer.Option(help="The module that declares the jobs to keep, with @job.")] = None,
    file: Annotated[str | None, typer.Option(help="The TOML file that declares the jobs to keep.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove the jobs that neither the module nor the file declares: show them, ask, remove. History stays.

    Without a terminal to ask on, or with --json, it only shows, and ends with 1 if there are any; --yes removes
    them without asking.
    """
    if app is None and file is None:
        raise InvalidJobError("say what declares the jobs to keep: --app MODULE, --file FILE, or both")
    kept: list[ScheduleJob] = [] if app is None else list(declared_by(app))
    if file is not None:
        kept += _read(file)

    async def propose(container: Container) -> Proposal:
        stored = await read_stored(container)
        source = " and ".join(_name(name) for name in (app, file) if name is not None)
        gone = undeclared(stored.prunable, {job.job_id for job in kept}, source=source, by_file_alone=app is None)
        return await annotate(container, compare(stored.definitions, [], removed=gone))

    _settle(propose, apply_it=yes, only_show=False, as_json=as_json)


def _settle(propose: Propose, *, apply_it: bool, only_show: bool, as_json: bool) -> None:
    """Show what would change, ask where one can, change it."""
    proposal = with_container(lambda container: _carry_out(container, propose, apply_it=apply_it))
    differs = len(proposal.difference) > 0
    if as_json:
        print_json(proposal.difference.document() | {"notes": list(proposal.notes), "applied": apply_it and differs})
    else:
        _show(proposal)
    if not differs:
        return
    if not apply_it:
        if only_show or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            if not as_json:
                console.print("Nothing was changed: --yes changes it." if not only_show else "Nothing was changed.")
            raise typer.Exit(1)
        if not typer.confirm(f"Make these {len(proposal.difference)} changes?"):
            console.print("Nothing was changed.")
            raise typer.Exit(1)
        with_container(lambda container: _carry_out(container, propose, apply_it=True, shown=proposal))
    if not as_json:
        console.print(f"Done: {_summary(proposal.difference, done=True)}.", markup=False)


async def _carry_out(
    container: Container, propose: Propose, *, apply_it: bool, shown: Proposal | None = None
) -> Proposal:
    if apply_it:
        await container.prepare()
    else:
        await container.check_schema()
    return await carry_out(container, propose, apply_it=apply_it, shown=shown)


def _show(proposal: Proposal) -> None:
    difference = proposal.difference
    rows = list(islice(difference.rows(), MOST_ROWS + 1))
    if rows:
        print_table(rows[:MOST_ROWS], COLUMNS, empty="")
    if len(rows) > MOST_ROWS:
        console.print("… and more: --json shows all")
    for note in proposal.notes[:MOST_ROWS]:
        console.print("".join(c if c.isprintable() else "�" for c in f"! {note}"), markup=False)
    console.print(_summary(difference) if difference else "Nothing differs.", markup=False)


def _summary(difference: Difference, *, done: bool = False) -> str:
    counts = {
        "added": len(difference.added),
        "changed": len(difference.edited),
        "removed": len(difference.removed),
    }
    words = [f"{count} {'' if done else 'to be '}{word}" for word, count in counts.items() if count]
    return ", ".join([*words, f"{difference.unchanged} unchanged"] if difference.unchanged else words)


def _name(file: str) -> str:
    return "standard input" if file == STANDARD_INPUT else plain_name(file)


def _read(file: str) -> Sequence[ScheduleJob]:
    if file == STANDARD_INPUT:
        return parse_jobs(check_size(sys.stdin.buffer.read(MOST_BYTES + 1), _name(file)), _name(file))
    return load_jobs(file)


def declared_by(app: str) -> Sequence[ScheduleJob]:
    """The jobs that a module declares. Raises CallbackNotFoundError, and InvalidJobError if there are none."""
    load_app(app)
    jobs = declared_jobs()
    if not jobs:
        raise InvalidJobError(f"--app {app}: the module declares no job with @job; name the one that does")
    return jobs


def _write(file: str, content: bytes) -> None:
    """Put the file in place as a whole. Raises InvalidJobError, also rather than overwrite what is no file of jobs."""
    path = Path(file)
    try:
        if path.exists():
            path = path.resolve()
            try:
                parse_jobs(read_file(path), plain_name(file))
            except InvalidJobError as error:
                raise InvalidJobError(
                    f"{plain_name(file)} exists and is no file of jobs, so it is left as it is: give another name"
                ) from error
        beside = path.with_name(f".{path.name[:200]}.{os.getpid()}")
        try:
            beside.write_bytes(content)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidJobError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidJobError(f"{plain_name(file)} can't be written ({reason}): give another name") from None
