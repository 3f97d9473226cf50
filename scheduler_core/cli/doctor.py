"""`scheduler doctor`: is everything well, and if not, what is it?"""

from __future__ import annotations

from typing import Annotated

import typer

from scheduler_core.admin.doctor import WISHES, examine
from scheduler_core.cli.jobs_file import declared_by
from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container


def doctor(
    app: Annotated[
        str | None, typer.Option(help="Compare the stored jobs with those that this module declares, with @job.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at servers, schema, clocks, replicas and jobs. Exit code 1 if something needs a person."""
    declared = None if app is None else declared_by(app)
    report = with_container(lambda container: examine(container, declared))
    if as_json:
        print_json(report)
    else:
        print_table([{"field": k, "value": v} for k, v in report["facts"].items()], ("field", "value"), empty="")
        print_table(report["findings"], ("kind", "subject", "detail"), empty="Nothing needs attention.")
        if report["findings"]:
            console.print("\nA pause or a revert is somebody's wish and no error; everything else wants a look.")
    if any(finding["kind"] not in WISHES for finding in report["findings"]):
        raise typer.Exit(1)
