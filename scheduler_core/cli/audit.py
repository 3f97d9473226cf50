"""`scheduler audit …`: the questions auditors ask. They need no more than the role that reads the views."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from scheduler_core.cli.output import AsJson, Limit, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.audit_filter import AuditFilter

app = typer.Typer(help="The questions auditors ask: what was missed, doubled, changed; who led.", no_args_is_help=True)

Job = Annotated[str | None, typer.Option("--job", help="Only this job.")]
Since = Annotated[datetime | None, typer.Option(help="From this instant on (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Up to this instant (UTC).")]
Sql = Annotated[bool, typer.Option("--sql", help="Only print the SQL, with these filters, for psql.")]

CHANGE_COLUMNS = ("changed_at", "job_id", "version", "action", "source", "actor", "what")
TERM_COLUMNS = ("term", "instance_id", "host", "acquired_at", "ended_at", "end_reason", "leaderless_for")
DUPLICATE_COLUMNS = ("kind", "job_id", "scheduled_for", "executions", "run_id", "detail")
GAP_COLUMNS = ("kind", "job_id", "first", "last", "count", "version")


@app.command()
def gaps(
    job: Job = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    sql: Sql = False,
) -> None:
    """Occurrences without a row or a count, by the definitions as they stood. Exit code 1 if there are any."""
    filters = _filters(job, since, until, limit)
    if sql:
        _print_sql("gaps", filters)
        return
    report = with_container(lambda container: container.get_auditor().gaps(filters))
    if as_json:
        print_json(report.as_document())
    else:
        rows = [{name: getattr(gap, name) for name in GAP_COLUMNS} for gap in report.gaps]
        print_table(rows, GAP_COLUMNS, empty="Every occurrence has a row, or is counted in one.")
        if report.unchecked:
            print_table(report.unchecked, ("job_id", "reason"), empty="", title="can't be checked")
        console.print(
            f"{report.jobs:,} jobs, {report.since:%Y-%m-%d %H:%M:%S} to {report.until:%Y-%m-%d %H:%M:%S} UTC: "
            f"{report.expected:,} occurrences owed, {report.unaccounted:,} unaccounted, {report.waiting:,} waiting",
            markup=False,
        )
    if not report.is_clean:
        raise typer.Exit(1)


@app.command()
def duplicates(
    job: Job = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    sql: Sql = False,
) -> None:
    """Occurrences with two rows, or whose record betrays a second call. Exit code 1 if there are any."""
    rows = _ask("duplicates", _filters(job, since, until, limit), sql=sql)
    if rows is None:
        return
    _show(rows, DUPLICATE_COLUMNS, as_json, "No occurrence has two rows, and nothing betrays a second call.")
    if rows:
        raise typer.Exit(1)


@app.command()
def changes(
    job: Job = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    sql: Sql = False,
) -> None:
    """Who changed which job, when, by which door, and what, the latest first."""
    rows = _ask("changes", _filters(job, since, until, limit), sql=sql)
    if rows is not None:
        shown = rows if as_json else [{**row, "what": _what(row)} for row in rows]
        _show(shown, CHANGE_COLUMNS, as_json, "No job was changed.")


@app.command()
def leadership(
    since: Since = None, until: Until = None, limit: Limit = 100, as_json: AsJson = False, sql: Sql = False
) -> None:
    """Who led, why it ended, and how long nobody led before, the latest term first."""
    rows = _ask("leadership", _filters(None, since, until, limit), sql=sql)
    if rows is not None:
        _show(rows, TERM_COLUMNS, as_json, "Nobody has led.")


def _ask(question: str, filters: AuditFilter, *, sql: bool) -> list[dict[str, Any]] | None:
    if sql:
        _print_sql(question, filters)
        return None

    async def work(container: Container) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await getattr(container.get_auditor(), question)(filters)
        return rows

    return with_container(work)


def _print_sql(question: str, filters: AuditFilter) -> None:
    async def work(container: Container) -> str:
        return container.get_auditor().sql(question, filters)

    print(with_container(work))


def _show(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool, empty: str) -> None:
    if as_json:
        print_json(rows)
    else:
        print_table(rows, columns, empty=empty)


def _what(row: dict[str, Any]) -> str | None:
    """The fields that differ, as `field: old → new`."""
    if row["old"] is None or row["new"] is None:
        return None
    differing = [name for name in row["new"] if row["old"].get(name) != row["new"][name]]
    told = ", ".join(f"{name}: {row['old'].get(name)} → {row['new'][name]}" for name in differing)
    return f"to version {row['reverted_to']}: {told}" if row["reverted_to"] is not None else told or None


def _filters(job: str | None, since: datetime | None, until: datetime | None, limit: int) -> AuditFilter:
    return AuditFilter(job, _in_utc(since), _in_utc(until), limit)


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
