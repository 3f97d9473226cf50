"""Daily and monthly tables, created ahead, summed up and dropped in time: methods that are callbacks as they are."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import date
from typing import ClassVar

from scheduler_core.domain.errors import NotInitializedError, SchedulerError
from scheduler_core.domain.table_family import TableFamily, months_to_sum_up
from scheduler_core.ports import Tables

logger = logging.getLogger("scheduler_core")


class TableScheduler:
    """The table families of this process.

    `create_daily_tables`, `create_monthly_summary_tables` and `cleanup_old_tables` take no arguments and are
    idempotent: any number of replicas may run them, as often as they like. The scheduler's own run history is
    the first family.
    """

    _families: ClassVar[dict[str, TableFamily]] = {}
    _open: ClassVar[Callable[[], Tables] | None] = None

    @classmethod
    def connect(cls, tables: Callable[[], Tables]) -> None:
        """Say where the tables live; the container does this."""
        cls._open = tables

    @classmethod
    def register(cls, family: TableFamily) -> None:
        """Add a family, or replace the one of the same name and schema."""
        cls._families[f"{family.schema}.{family.name}"] = family

    @classmethod
    def unregister(cls, name: str, schema: str = "public") -> None:
        """Forget a family; its tables stay."""
        cls._families.pop(f"{schema}.{name}", None)

    @classmethod
    async def create_daily_tables(cls) -> list[str]:
        """Have every family's tables for today and its days ahead; returns the names of the new ones.

        A family that fails does not keep the others from theirs. Raises SchedulerError in the end, naming each.
        """
        tables = cls._tables()
        today = await tables.today()
        created = list(await tables.create_history(today))

        async def create(family: TableFamily) -> None:
            for day in family.days_to_create(today):
                if await tables.create_day(family, day):
                    created.append(family.daily_table(day))

        await cls._for_each(create)
        return created

    @classmethod
    async def create_monthly_summary_tables(cls) -> list[str]:
        """Compute last month's and this month's summary of every family that has one; returns their names."""
        tables = cls._tables()
        months = months_to_sum_up(await tables.today())
        written: list[str] = []

        async def sum_up(family: TableFamily) -> None:
            for month in months if family.summary is not None else ():
                if await tables.create_summary(family, month):
                    written.append(family.summary_table(month))

        await cls._for_each(sum_up)
        return written

    @classmethod
    async def cleanup_old_tables(cls) -> list[str]:
        """Drop what is past its retention; returns the names of what was dropped."""
        tables = cls._tables()
        today: date = await tables.today()
        dropped = list(await tables.drop_history(today))

        async def clean_up(family: TableFamily) -> None:
            for name, parent in (await tables.existing(family)).items():
                if family.is_outdated(name, today):
                    await tables.drop(family, name, parent)
                    dropped.append(name)

        await cls._for_each(clean_up)
        return dropped

    @classmethod
    def _tables(cls) -> Tables:
        if cls._open is None:
            raise NotInitializedError("TableScheduler has no database yet: call SchedulerService.init() first")
        return cls._open()

    @classmethod
    async def _for_each(cls, work: Callable[[TableFamily], Awaitable[None]]) -> None:
        problems: list[str] = []
        for family in list(cls._families.values()):
            try:
                await work(family)
            except SchedulerError as error:
                problems.append(str(error))
                logger.error("table family %s: %s", family.name, error)
        if problems:
            raise SchedulerError("; ".join(problems))
