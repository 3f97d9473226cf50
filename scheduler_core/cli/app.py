"""The commands put together, and what happens when one fails."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from scheduler_core.cli import (
    alarms,
    audit,
    backfill,
    bench,
    calendars,
    clock,
    dev,
    doctor,
    drill,
    explain,
    export,
    jobs,
    jobs_file,
    leader,
    replica,
    runs,
    simulate,
    tables,
    tokens,
    upcoming,
    web,
)
from scheduler_core.cli.exit_codes import exit_code_of
from scheduler_core.domain.errors import SchedulerError

app = typer.Typer(
    name="scheduler",
    help="A job scheduler whose failover can be proven.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
jobs.app.command("import")(jobs_file.import_jobs)
jobs.app.command("export")(jobs_file.export_jobs)
jobs.app.command("prune")(jobs_file.prune_jobs)
jobs.app.command("backfill")(backfill.backfill)
runs.app.command("export")(export.export_runs)
app.add_typer(jobs.app, name="jobs")
app.add_typer(runs.app, name="runs")
app.add_typer(leader.app, name="leader")
app.add_typer(clock.app, name="clock")
app.add_typer(calendars.app, name="calendars")
app.add_typer(alarms.app, name="alarms")
app.add_typer(audit.app, name="audit")
app.add_typer(tables.app, name="tables")
app.add_typer(tokens.app, name="tokens")
app.command("dev")(dev.dev)
app.command("run")(replica.run)
app.command("web")(web.web)
app.command("migrate")(replica.migrate_schema)
app.command("next")(upcoming.next_instants)
app.command("explain")(explain.explain)
app.command("simulate")(simulate.simulate)
app.command("doctor")(doctor.doctor)
app.command("drill")(drill.drill)
app.command("bench")(bench.bench)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command."""


def run() -> None:
    """Run the command line; ends the process with its exit code.

    0 done, 1 the answer is bad news, 2 wrong usage, 3 a server is out of reach.
    """
    if "--debug" in sys.argv:
        # Allowed anywhere on the line: it is typed after an error, at its end.
        sys.argv = [sys.argv[0], "--debug", *(a for a in sys.argv[1:] if a != "--debug")]
    debug = "--debug" in sys.argv
    try:
        app()
    except SchedulerError as error:
        if debug:
            raise
        print(f"scheduler: {error}", file=sys.stderr)
        sys.exit(exit_code_of(error))
    except KeyboardInterrupt:
        sys.exit(130)
