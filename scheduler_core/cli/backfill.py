"""`scheduler jobs backfill`: make up for a range of occurrences; a preview first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.jobs.backfill import MOST_OCCURRENCES, Backfill
from scheduler_core.domain.schedule import parse_instant

SHOWN_AT_EACH_END = 5


def backfill(
    job_id: Annotated[str, typer.Argument(help="The job's id.")],
    start: Annotated[str, typer.Option("--from", help="The first instant, in ISO 8601 (UTC unless it says).")],
    until: Annotated[str, typer.Option("--until", help="The last instant, itself included.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be made.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="The most occurrences that the range may hold.")
    ] = MOST_OCCURRENCES,
    as_json: AsJson = False,
) -> None:
    """Make up for past occurrences that have no run: in order, one at a time, beside the schedule."""
    first, last = parse_instant(start, "UTC"), parse_instant(until, "UTC")

    async def work(container: Container) -> Backfill:
        await container.check_schema()
        operations = container.get_run_operations()
        verb = operations.preview_backfill if dry_run else operations.backfill
        return await verb(job_id, first, last, limit=limit)

    found = with_container(work)
    if as_json:
        print_json(as_document(found, dry_run=dry_run))
        return
    if not found.count:
        console.print(f"job {job_id} has no occurrence between {start} and {until}", markup=False)
        return
    rows = [{"scheduled_for": instant, "run": "would be made" if dry_run else "made"} for instant in found.to_make]
    rows += [{"scheduled_for": instant, "run": f"is there: {status}"} for instant, status in found.existing]
    rows.sort(key=lambda row: str(row["scheduled_for"]))
    if len(rows) > 2 * SHOWN_AT_EACH_END:
        left_out = len(rows) - 2 * SHOWN_AT_EACH_END
        gap: dict[str, Any] = {"scheduled_for": "…", "run": f"{left_out:,} more"}
        rows = [*rows[:SHOWN_AT_EACH_END], gap, *rows[-SHOWN_AT_EACH_END:]]
    print_table(rows, ("scheduled_for", "run"), empty="")
    verb = "would be made" if dry_run else "were made; the leader executes them in order"
    console.print(f"{len(found.to_make):,} runs {verb}, {len(found.existing):,} were there", markup=False)


def as_document(found: Backfill, *, dry_run: bool) -> dict[str, Any]:
    """A backfill as one JSON document."""
    instants: list[datetime] = sorted([*found.to_make, *(instant for instant, _ in found.existing)])
    return {
        "job_id": found.job_id,
        "from": found.start,
        "until": found.end,
        "dry_run": dry_run,
        "occurrences": found.count,
        "first": instants[0] if instants else None,
        "last": instants[-1] if instants else None,
        "made": len(found.to_make),
        "to_make": found.to_make,
        "existing": [{"scheduled_for": instant, "status": status} for instant, status in found.existing],
    }
