"""Table families: tables that come a day at a time, are summed up by the month, and go after a while."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from scheduler_core.domain.errors import InvalidJobError

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,39}\Z")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_ (),.\[\]+*/=<>]{0,200}\Z")
_DAY = re.compile(r"_(\d{4})(\d{2})(\d{2})\Z")
_MONTH = re.compile(r"_summary_(\d{4})(\d{2})\Z")

MAX_DAYS = 36_500


class InvalidTableFamilyError(InvalidJobError):
    """A table family can't be accepted. The message names the field and what would be right."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a month is computed from its days: `columns` are aggregates, one row for each value of `by`.

    Parameters: columns, name → SQL aggregate, as {"orders": "count(*)"}; by, columns of the daily tables.
    """

    columns: Mapping[str, str]
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableFamily:
    """Daily tables `{name}_YYYYMMDD` and monthly summaries `{name}_summary_YYYYMM`.

    Parameters: columns, name → SQL type, or like, a table that each day copies; schema, where they live;
    partitioned, whether the days are partitions of `{name}` by `time_column`; days_ahead, how many days are
    created in advance; retention_days and summary_retention_months, after which they are dropped (None: never);
    summary, how a month is computed.
    Raises InvalidTableFamilyError.
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
        _check_identifier("name", self.name)
        _check_identifier("schema", self.schema)
        if (self.columns is None) == (self.like is None):
            raise InvalidTableFamilyError(f"table family {self.name!r}: give either columns= or like=")
        if self.like is not None:
            _check_identifier("like", self.like)
        for column, kind in (self.columns or {}).items():
            _check_identifier("column", column)
            _check_fragment(f"type of column {column!r}", kind)
        if self.partitioned and self.time_column is None:
            raise InvalidTableFamilyError(f"table family {self.name!r}: partitioned=True needs time_column=")
        if self.time_column is not None:
            _check_identifier("time_column", self.time_column)
        if not 0 <= self.days_ahead <= 366:
            raise InvalidTableFamilyError(f"table family {self.name!r}: days_ahead is 0 to 366")
        for setting, value in (
            ("retention_days", self.retention_days),
            ("summary_retention_months", self.summary_retention_months),
        ):
            if value is not None and not 1 <= value <= MAX_DAYS:
                raise InvalidTableFamilyError(f"table family {self.name!r}: {setting} is 1 to {MAX_DAYS}, or None")
        if isinstance(self.summary, Mapping):
            object.__setattr__(self, "summary", Summary(self.summary))
        if isinstance(self.summary, Summary):
            for column in self.summary.by:
                _check_identifier("summary column", column)
            for column, aggregate in self.summary.columns.items():
                _check_identifier("summary column", column)
                _check_fragment(f"summary {column!r}", aggregate)

    def days_to_create(self, today: date) -> list[date]:
        """The days whose tables must exist: today's and those ahead."""
        return [today + timedelta(days=n) for n in range(self.days_ahead + 1)]

    def daily_table(self, day: date) -> str:
        """`{name}_YYYYMMDD`."""
        return f"{self.name}_{day:%Y%m%d}"

    def summary_table(self, month: date) -> str:
        """`{name}_summary_YYYYMM`."""
        return f"{self.name}_summary_{month:%Y%m}"

    def day_of(self, table: str) -> date | None:
        """The day of one of the family's daily tables, None for any other table."""
        found = _DAY.search(table)
        if found is None or table != f"{self.name}{found[0]}":
            return None
        try:
            return date(int(found[1]), int(found[2]), int(found[3]))
        except ValueError:
            return None

    def month_of(self, table: str) -> date | None:
        """The first day of the month of one of the family's summaries, None for any other table."""
        found = _MONTH.search(table)
        if found is None or table != f"{self.name}{found[0]}" or not 1 <= int(found[2]) <= 12:
            return None
        return date(int(found[1]), int(found[2]), 1)

    def is_outdated(self, table: str, today: date) -> bool:
        """Whether a table of this family is past its retention."""
        day = self.day_of(table)
        if day is not None:
            return self.retention_days is not None and day < today - timedelta(days=self.retention_days)
        month = self.month_of(table)
        if month is None or self.summary_retention_months is None:
            return False
        age = (today.year - month.year) * 12 + today.month - month.month
        return age > self.summary_retention_months


def months_to_sum_up(today: date) -> tuple[date, date]:
    """Last month, which may have grown until midnight, and this one so far."""
    this = today.replace(day=1)
    return (this - timedelta(days=1)).replace(day=1), this


def _check_identifier(what: str, name: str) -> None:
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise InvalidTableFamilyError(
            f"{what} {name!r} is not a plain identifier: use a-z, 0-9 and _, not starting with a digit, at most 40 "
            "characters"
        )


def _check_fragment(what: str, text: str) -> None:
    if not isinstance(text, str) or not _TYPE.match(text) or "--" in text or "/*" in text:
        raise InvalidTableFamilyError(f"{what}: {text!r} is not plain SQL: no quotes, semicolons or comments")
