"""`scheduler calendars …`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from scheduler_core.cli.output import AsJson, Limit, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.calendars.calendars import SATURDAY_AND_SUNDAY, Calendar
from scheduler_core.domain.calendars.countries import country_calendar, parse_years
from scheduler_core.domain.calendars.fields import parse_dates
from scheduler_core.domain.errors import InvalidCalendarError
from scheduler_core.engine.operations.calendars import CalendarOperations

app = typer.Typer(help="Named calendars: holidays, business days, blackouts.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The calendar's name.")]
DateOption = Annotated[
    list[str] | None, typer.Option("--date", help="An excluded day, as 2026-12-25 or '2026-12-25 Christmas Day'.")
]
WeekdayOption = Annotated[list[str] | None, typer.Option("--weekday", help="An excluded weekday: mon … sun.")]
PeriodOption = Annotated[
    list[str] | None,
    typer.Option("--period", help="A blackout FROM/UNTIL in ISO 8601, UTC unless it says otherwise."),
]
BusinessDays = Annotated[bool, typer.Option("--business-days", help="Exclude weekends as well.")]
Replace = Annotated[bool, typer.Option("--replace", help="Make it exactly this, in place of what is there.")]

MAX_FILE_BYTES = 10_000_000


@app.command("list")
def list_calendars(as_json: AsJson = False, limit: Limit = 1_000) -> None:
    """The calendars, by name, with how many jobs name each."""

    async def work(container: Container) -> list[dict[str, Any]]:
        await container.check_schema()
        return await container.get_storage().calendars.listed(limit=limit)

    rows = with_container(work)
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            **row,
            "dates": len(row["excluded_dates"]),
            "last_date": max(row["excluded_dates"], default=None),
            "weekdays": " ".join(row["excluded_weekdays"]) or None,
            "periods": len(row["excluded_periods"]),
            "jobs": row["job_count"],
        }
        for row in rows
    ]
    columns = ("name", "dates", "last_date", "weekdays", "periods", "jobs", "note")
    print_table(shown, columns, empty="There are no calendars yet: `scheduler calendars add` or `import` makes one.")


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """One calendar, whole."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        rows = await container.get_storage().calendars.listed([name])
        if not rows:
            await container.get_calendars().get(name)
        return rows[0]

    row = with_container(work)
    if as_json:
        print_json(row)
        return
    excluded = [{"excluded": day, "what": text} for day, text in row["excluded_dates"].items()]
    excluded += [{"excluded": weekday, "what": "weekday"} for weekday in row["excluded_weekdays"]]
    excluded += [{"excluded": f"{start} / {until}", "what": "period"} for start, until in row["excluded_periods"]]
    facts = ("note", "job_count", "job_ids", "version", "updated_at", "updated_by")
    print_table([{"field": fact, "value": row[fact]} for fact in facts], ("field", "value"), empty="", title=name)
    print_table(excluded, ("excluded", "what"), empty="It excludes nothing.")


@app.command()
def add(
    name: Name,
    day: DateOption = None,
    weekday: WeekdayOption = None,
    period: PeriodOption = None,
    business_days: BusinessDays = False,
    note: Annotated[str | None, typer.Option(help="For people.")] = None,
    replace: Replace = False,
) -> None:
    """Add exclusions to a calendar; it is created if it does not exist."""
    calendar = _calendar(name, day, weekday, period, business_days, note)
    _store(calendar, replace)


@app.command("import")
def import_dates(
    name: Name,
    file: Annotated[str | None, typer.Argument(help="A file with a date per line and its name; - for input.")] = None,
    country: Annotated[str | None, typer.Option(help="Instead of a file: the country's code, as DE.")] = None,
    subdivision: Annotated[str | None, typer.Option(help="Of the country, as BE.")] = None,
    years: Annotated[str | None, typer.Option(help="2026-2030; this year and the next four by default.")] = None,
    language: Annotated[str | None, typer.Option(help="Of the holidays' names, as en_US.")] = None,
    business_days: BusinessDays = False,
    replace: Replace = False,
) -> None:
    """Import dates from a file, or a country's public holidays, into a calendar.

    They are added to what is there, unless --replace says otherwise.
    """
    if (file is None) == (country is None):
        raise InvalidCalendarError("give either a file with dates or --country")
    if country is not None:
        this_year = datetime.now(UTC).year
        calendar = country_calendar(
            name,
            country,
            subdivision=subdivision,
            years=parse_years(years) if years else range(this_year, this_year + 5),
            business_days=business_days,
            language=language,
        )
    else:
        if subdivision or years or language:
            raise InvalidCalendarError("--subdivision, --years and --language go with --country, not with a file")
        calendar = Calendar(name, parse_dates(_read(file or "-")), SATURDAY_AND_SUNDAY if business_days else ())
    _store(calendar, replace)


@app.command()
def remove(name: Name, day: DateOption = None, weekday: WeekdayOption = None, period: PeriodOption = None) -> None:
    """Remove a calendar that no job names; with options, only these exclusions of it."""
    if day or weekday or period:
        calendar = _calendar(name, day, weekday, period, False, None)
        left = _with_calendars(lambda operations: operations.reduce(calendar))
        console.print(f"calendar {name} {_summary(left)}", markup=False)
    else:
        _with_calendars(lambda operations: operations.remove(name))
        console.print(f"calendar {name} is removed", markup=False)


def _store(calendar: Calendar, replace: bool) -> None:
    async def work(operations: CalendarOperations) -> Calendar:
        if not replace:
            return await operations.extend(calendar)
        await operations.put(calendar)
        return calendar

    stored = _with_calendars(work)
    console.print(f"calendar {calendar.name} {_summary(stored)}", markup=False)


def _with_calendars(work: Callable[[CalendarOperations], Awaitable[Any]]) -> Any:
    async def whole(container: Container) -> Any:
        await container.check_schema()
        return await work(container.get_calendars())

    return with_container(whole)


def _calendar(
    name: str,
    days: list[str] | None,
    weekdays: list[str] | None,
    periods: list[str] | None,
    business_days: bool,
    note: str | None,
) -> Calendar:
    dates = parse_dates("\n".join(days)) if days else {}
    weekend = SATURDAY_AND_SUNDAY if business_days else ()
    return Calendar(name, dates, (*(weekdays or ()), *weekend), [_period(text) for text in periods or ()], note)


def _period(text: str) -> tuple[datetime, datetime]:
    try:
        start, until = (datetime.fromisoformat(part.strip()) for part in text.split("/"))
    except ValueError:
        raise InvalidCalendarError(
            f"--period can't be {text!r}: write FROM/UNTIL, as 2026-12-24T18:00+01:00/2026-12-27T06:00+01:00"
        ) from None
    return _in_utc(start), _in_utc(until)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _read(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read(MAX_FILE_BYTES)
        with Path(file).open(encoding="utf-8") as opened:
            return opened.read(MAX_FILE_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidCalendarError(f"the file {file!r} can't be read as text: {error}") from None


def _summary(calendar: Calendar) -> str:
    parts = [
        f"{len(calendar.excluded_dates)} dates" if calendar.excluded_dates else "",
        " ".join(calendar.excluded_weekdays),
        f"{len(calendar.excluded_periods)} periods" if calendar.excluded_periods else "",
    ]
    return "excludes " + (", ".join(part for part in parts if part) or "nothing")
