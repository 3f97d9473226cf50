"""Table families: tables that come a day at a time, are summed up by the month, and go after a while.

Days are UTC, so no change of the clocks ever makes one longer or shorter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from scheduler_core.domain.errors import InvalidJobError

MAX_FAMILY_NAME = 40
MAX_NAME = 63
"""Postgres cuts longer names off without a word. The longest name made here is `{name}_summary_YYYYMM`: 55."""

MAX_DAYS = 36_500
MAX_DAYS_AHEAD = 366

_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
_FRAGMENT = re.compile(r"[A-Za-z(][A-Za-z0-9_ (),.:\[\]+*/%|=<>-]{0,400}\Z")
_DAY = re.compile(r"_([0-9]{4})([0-9]{2})([0-9]{2})\Z")
_MONTH = re.compile(r"_summary_([0-9]{4})([0-9]{2})\Z")


class InvalidTableFamilyError(InvalidJobError):
    """A table family can't be accepted. The message names the field and what would be right."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a month is computed from its days: `columns` are aggregates, one row for each value of `by`.

    An aggregate is an expression by design: it is written into the statement as it stands, so take it from code and
    never from a user. Quotes, semicolons, comments and whatever would leave the expression are refused.

    Args:
        columns: Name to SQL aggregate, as {"orders": "count(*)"}.
        by: Columns of the daily tables.
    """

    columns: Mapping[str, str]
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableFamily:
    """Daily tables `{name}_YYYYMMDD` and monthly summaries `{name}_summary_YYYYMM`, days being UTC.

    The days of a family with a summary go a month at a time, once the month's last day is past `retention_days` and the
    month was summed up for the last time. A column's type may say more ("bigint NOT NULL DEFAULT 0") and is SQL by
    design, as an aggregate is.

    Args:
        name: A plain identifier of at most 40 characters.
        columns: Name to SQL type; either this or `like`.
        like: A table of the same schema that each day copies.
        schema: Where they live.
        partitioned: Whether the days are partitions of `{name}` by `time_column`, or tables of their own.
        time_column: The column that partitions go by; needed with `partitioned`.
        days_ahead: How many days are created in advance, 0 to 366.
        retention_days: After how many days a day is dropped, 1 to 36,500. None: never.
        summary: How a month is computed; a mapping stands for a `Summary` of these columns. None: it is not.
        summary_retention_months: After how many months a summary is dropped, 1 to 36,500. None: never.

    Raises:
        InvalidTableFamilyError: One of them can't be accepted.
    """

    name: str
    columns: Mapping[str, str] | None = None
    like: str | None = None
    schema: str = "public"
    partitioned: bool = False
    time_column: str | None = None
    days_ahead: int = 3
    retention_days: int | None = 30
    summary: Summary | Mapping[str, str] | None = None
    summary_retention_months: int | None = None

    def __post_init__(self) -> None:
        _check_name("name", self.name, longest=MAX_FAMILY_NAME)
        if _DAY.search(self.name) or _MONTH.search(self.name):
            raise InvalidTableFamilyError(
                f"table family {self.name!r}: the name looks like one day or month of another family, which would "
                "drop it one day: choose a name that does not end so"
            )
        _check_name("schema", self.schema)
        self._check_columns()
        self._check_numbers()
        if isinstance(self.summary, Mapping):
            object.__setattr__(self, "summary", Summary(self.summary))
        if isinstance(self.summary, Summary):
            _check_summary(self.name, self.summary)

    def _check_columns(self) -> None:
        if (self.columns is None) == (self.like is None):
            raise InvalidTableFamilyError(f"table family {self.name!r}: give either columns= or like=")
        if self.columns is not None and not self.columns:
            raise InvalidTableFamilyError(f"table family {self.name!r}: columns= names no column")
        if self.like is not None:
            _check_name("like", self.like)
            if self.day_of(self.like) or self.month_of(self.like):
                raise InvalidTableFamilyError(
                    f"table family {self.name!r}: like={self.like!r} is itself one of its tables, and would be dropped "
                    "with them: copy it under another name first"
                )
        for column, kind in (self.columns or {}).items():
            _check_name("column", column)
            _check_fragment(f"type of column {column!r}", kind)
        if self.partitioned and self.time_column is None:
            raise InvalidTableFamilyError(f"table family {self.name!r}: partitioned=True needs time_column=")
        if self.time_column is not None:
            _check_name("time_column", self.time_column)
            if self.columns is not None and self.time_column not in self.columns:
                raise InvalidTableFamilyError(
                    f"table family {self.name!r}: time_column {self.time_column!r} is none of its columns"
                )

    def _check_numbers(self) -> None:
        if not _is_between(self.days_ahead, 0, MAX_DAYS_AHEAD):
            raise InvalidTableFamilyError(
                f"table family {self.name!r}: days_ahead is 0 to {MAX_DAYS_AHEAD}, not {self.days_ahead!r}"
            )
        for setting, value in (
            ("retention_days", self.retention_days),
            ("summary_retention_months", self.summary_retention_months),
        ):
            if value is not None and not _is_between(value, 1, MAX_DAYS):
                raise InvalidTableFamilyError(
                    f"table family {self.name!r}: {setting} is 1 to {MAX_DAYS}, or None for ever, not {value!r}"
                )

    def days_to_create(self, today: date) -> list[date]:
        """The days whose tables must exist: today's and those ahead.

        Args:
            today: The day by Postgres's clock, in UTC.

        Returns:
            The days, in order.
        """
        return [today + timedelta(days=n) for n in range(self.days_ahead + 1)]

    def daily_table(self, day: date) -> str:
        """The name of a day's table.

        Args:
            day: The day, in UTC.

        Returns:
            `{name}_YYYYMMDD`.
        """
        return f"{self.name}_{day.year:04}{day.month:02}{day.day:02}"

    def summary_table(self, month: date) -> str:
        """The name of a month's summary.

        Args:
            month: Any day of the month, in UTC.

        Returns:
            `{name}_summary_YYYYMM`.
        """
        return f"{self.name}_summary_{month.year:04}{month.month:02}"

    def day_of(self, table: str) -> date | None:
        """Which day a table is of.

        Args:
            table: A table's name, without its schema.

        Returns:
            The day of one of the family's daily tables, None for any other table.
        """
        found = _DAY.search(table)
        if found is None or table != f"{self.name}{found[0]}":
            return None
        try:
            return date(int(found[1]), int(found[2]), int(found[3]))
        except ValueError:
            return None

    def month_of(self, table: str) -> date | None:
        """Which month a table sums up.

        Args:
            table: A table's name, without its schema.

        Returns:
            The first day of the month of one of the family's summaries, None for any other table.
        """
        found = _MONTH.search(table)
        if found is None or table != f"{self.name}{found[0]}":
            return None
        try:
            return date(int(found[1]), int(found[2]), 1)
        except ValueError:
            return None

    def is_day_outdated(self, day: date, today: date) -> bool:
        """Whether a day is past its retention: with a summary, its whole month.

        Args:
            day: The day, in UTC.
            today: The day by Postgres's clock, in UTC.

        Returns:
            Never True without `retention_days`.
        """
        if self.retention_days is None:
            return False
        last = day if self.summary is None else last_day_of_month(day)
        return last < today - timedelta(days=self.retention_days)

    def is_summary_outdated(self, month: date, today: date) -> bool:
        """Whether a month's summary is past its retention.

        Args:
            month: Any day of the month, in UTC.
            today: The day by Postgres's clock, in UTC.

        Returns:
            Never True without `summary_retention_months`.
        """
        if self.summary_retention_months is None:
            return False
        age = (today.year - month.year) * 12 + today.month - month.month
        return age > self.summary_retention_months


def first_day_of_month(day: date) -> date:
    return day.replace(day=1)


def last_day_of_month(day: date) -> date:
    if (day.year, day.month) == (date.max.year, date.max.month):
        return date.max
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def months_to_sum_up(today: date) -> tuple[date, date]:
    """Last month, whose rows may come late, and this one so far."""
    this = first_day_of_month(today)
    return first_day_of_month(this - timedelta(days=1)), this


def _is_between(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _check_summary(family: str, summary: Summary) -> None:
    if not summary.columns:
        raise InvalidTableFamilyError(f"table family {family!r}: the summary has no column to compute")
    for column in summary.by:
        _check_name("summary column", column)
        if column in summary.columns:
            raise InvalidTableFamilyError(f"table family {family!r}: summary column {column!r} stands in by= too")
    for column, aggregate in summary.columns.items():
        _check_name("summary column", column)
        _check_fragment(f"summary {column!r}", aggregate)


def _check_name(what: str, name: str, *, longest: int = MAX_NAME) -> None:
    if not isinstance(name, str) or not _NAME.match(name) or len(name) > longest:
        raise InvalidTableFamilyError(
            f"{what} {name!r} is not a plain identifier: use a-z, 0-9 and _, not starting with a digit, at most "
            f"{longest} characters"
        )


def _check_fragment(what: str, text: str) -> None:
    """Refuse what could leave its place in the statement. What it computes inside of it is code's business."""
    if not isinstance(text, str) or not _FRAGMENT.match(text) or "--" in text or "/*" in text:
        raise InvalidTableFamilyError(f"{what}: {text!r} is not plain SQL: no quotes, semicolons or comments")
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0 or (character == "," and depth == 0):
            raise InvalidTableFamilyError(f"{what}: {text!r} is more than one expression")
    if depth:
        raise InvalidTableFamilyError(f"{what}: {text!r} has a parenthesis that is never closed")
