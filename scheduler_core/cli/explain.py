"""`scheduler explain`: why a job did or did not run."""

from __future__ import annotations

from typing import Annotated

import typer

from scheduler_core.admin.explain import explanation_of
from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.planning.explanation import Explanation


def explain(
    job_id: Annotated[str, typer.Argument(help="The job's id.")],
    as_json: AsJson = False,
) -> None:
    """Why a job did or did not run, what it waits for, and what comes next. Exit code 1 if there is no such job."""

    async def work(container: Container) -> Explanation:
        await container.check_schema()
        return await explanation_of(container, job_id)

    found = with_container(work)
    if as_json:
        print_json(found.as_document())
    else:
        _tell(found)
    if not found.is_known:
        raise typer.Exit(1)


def _tell(found: Explanation) -> None:
    def say(line: str) -> None:
        # Notes and errors are users' text: never markup, never control characters.
        safe = "".join(character if character.isprintable() else "�" for character in line)
        console.print(safe, markup=False, highlight=False)

    if found.schedule is not None:
        say(f"{found.job_id}: {found.schedule}, in {found.timezone}")
    for sentence in found.sentences:
        say(sentence)
    if found.runs:
        say("")
        for _, sentence in found.runs:
            say(f"- {sentence}")
    if found.upcoming:
        say("")
        rows = [one.as_row() for one in found.upcoming]
        columns = ["utc", "local", *(["note"] if any(one.note for one in found.upcoming) else [])]
        print_table(rows, columns, empty="", title="next")
