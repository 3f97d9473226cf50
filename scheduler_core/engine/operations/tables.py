"""Daily and monthly tables, created ahead, summed up and dropped in time: methods that are callbacks as they are."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from functools import partial
from typing import ClassVar

from scheduler_core.domain.errors import NotInitializedError, SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.domain.tables.family import InvalidTableFamilyError, TableFamily, months_to_sum_up
from scheduler_core.domain.tables.plan import plan_cleanup, plan_days, plan_summaries
from scheduler_core.domain.tables.steps import Planning
from scheduler_core.ports.tables import Tables

logger = logging.getLogger("scheduler_core")

Verb = Callable[[TableFamily, date], Planning]


def creation(family: TableFamily, today: date) -> Planning:
    """Have today's table and those ahead."""
    return partial(plan_days, family, days=family.days_to_create(today))


def summing(family: TableFamily, today: date) -> Planning:
    """Compute last month and this one anew."""
    return partial(plan_summaries, family, months=months_to_sum_up(today), today=today)


def cleanup(family: TableFamily, today: date) -> Planning:
    """Drop what is past its retention."""
    return partial(plan_cleanup, family, today=today)


_CURRENT: ContextVar[Callable[[], Tables] | None] = ContextVar("scheduler_core_current_tables", default=None)
"""Where the tables live for whoever runs here: what a scheduler calls inherits it from the scheduler's own tasks."""


class TableScheduler:
    """The table families of this process.

    `create_daily_tables`, `create_monthly_summary_tables` and `cleanup_old_tables` take no arguments and are
    idempotent: any number of replicas may run them, as often as they like. The scheduler's own run history is
    the first family; the leader looks after it by itself.

    As callbacks they work on the database of the scheduler that calls them. Called by hand they work on that of the
    default container (`SchedulerService`), else of the only one that there is; `on` says so where there are several.
    """

    _families: ClassVar[dict[str, TableFamily]] = {}
    _open: ClassVar[list[weakref.WeakMethod[Callable[[], Tables]]]] = []
    _default: ClassVar[Callable[[], Tables] | None] = None

    @classmethod
    def connect(cls, tables: Callable[[], Tables], *, as_default: bool = False) -> None:
        """Say where tables live; the container does this.

        Args:
            tables: A bound method that gives them; what it is bound to is not kept alive.
            as_default: Whether whoever calls by hand means these.
        """
        cls.disconnect(tables)
        cls._open.append(weakref.WeakMethod(tables))
        if as_default:
            cls._default = tables

    @classmethod
    def disconnect(cls, tables: Callable[[], Tables]) -> None:
        """They are not to be had any more.

        Args:
            tables: The bound method that was given to `connect`.
        """
        cls._open = [reference for reference in cls._open if reference() not in (None, tables)]
        if cls._default == tables:
            cls._default = None

    @classmethod
    @contextmanager
    def on(cls, tables: Callable[[], Tables]) -> Iterator[None]:
        """Work on these inside of the `with`, and in every task that begins there: `on(container.get_tables)`.

        Args:
            tables: The bound method that was given to `connect`.
        """
        before = _CURRENT.set(tables)
        try:
            yield
        finally:
            _CURRENT.reset(before)

    @classmethod
    def register(cls, family: TableFamily) -> None:
        """Add a family, or replace the one of the same name and schema.

        Args:
            family: The family.

        Raises:
            InvalidTableFamilyError: What was given is no `TableFamily`.
        """
        if not isinstance(family, TableFamily):
            raise InvalidTableFamilyError(f"register takes a TableFamily, not {type(family).__name__}")
        cls._families[f"{family.schema}.{family.name}"] = family

    @classmethod
    def unregister(cls, name: str, schema: str = "public") -> None:
        """Forget a family in this process; its tables stay. `scheduler tables forget` does so everywhere.

        Args:
            name: The family's name. One that is not registered is harmless.
            schema: Where its tables live.
        """
        cls._families.pop(f"{schema}.{name}", None)

    @classmethod
    def families(cls) -> list[TableFamily]:
        """The families that this process has registered."""
        return list(cls._families.values())

    @classmethod
    async def create_daily_tables(cls) -> list[str]:
        """Have every family's tables for today and its days ahead.

        A table that fails does not keep the others from theirs.

        Returns:
            The names of the new ones.

        Raises:
            SchedulerError: In the end, naming each that failed.
            NotInitializedError: There is no database yet, or several, and none is the default one.
        """
        tables = cls._tables()
        today = await tables.today()
        created: list[str] = []
        problems: list[str] = []
        try:
            created += await tables.create_history(today)
        except SchedulerError as error:
            problems.append(str(error))
        for family in cls.families():
            await tables.remember(family)
        return await cls._carry_out(tables, cls.families(), creation, today, created, problems)

    @classmethod
    async def create_monthly_summary_tables(cls) -> list[str]:
        """Compute last month's and this month's summary of every family that has one.

        Returns:
            Their names.

        Raises:
            SchedulerError: In the end, naming each that failed.
            NotInitializedError: There is no database yet, or several, and none is the default one.
        """
        tables = cls._tables()
        return await cls._carry_out(tables, cls.families(), summing, await tables.today())

    @classmethod
    async def cleanup_old_tables(cls) -> list[str]:
        """Drop what is past its retention.

        Tables in use are tried again for a while, and left to the next time.

        Returns:
            The names of what was dropped.

        Raises:
            SchedulerError: In the end, naming each that failed.
            NotInitializedError: There is no database yet, or several, and none is the default one.
        """
        tables = cls._tables()
        return await cls._carry_out(tables, [*tables.history, *cls.families()], cleanup, await tables.today())

    @classmethod
    async def rehearse(cls, *verbs: Verb) -> tuple[str, list[str]]:
        """The SQL that these verbs would run now, for the history and the registered families; changes nothing.

        Args:
            *verbs: Of `creation`, `summing` and `cleanup`; none: all of them.

        Returns:
            The statements, and the problems that a person would have to see to.

        Raises:
            NotInitializedError: There is no database yet, or several, and none is the default one.
        """
        tables = cls._tables()
        today = await tables.today()
        scripts: list[str] = []
        problems: list[str] = []
        for family in [*tables.history, *cls.families()]:
            for verb in verbs or (creation, summing, cleanup):
                script, found = await tables.rehearse(family, verb(family, today))
                scripts += [script] if script else []
                problems += found
        return "\n".join(scripts), problems

    @classmethod
    def _tables(cls) -> Tables:
        known = [tables for reference in cls._open if (tables := reference()) is not None]
        current = _CURRENT.get()
        if current is not None:
            if current not in known:
                raise NotInitializedError("the container whose tables these are has been closed: do this before")
            return current()
        if cls._default is not None:
            return cls._default()
        if len(known) > 1:
            raise NotInitializedError(
                f"there are {len(known)} containers in this process, and none is the default one: say on whose tables, "
                "`with TableScheduler.on(container.get_tables):`"
            )
        if not known:
            raise NotInitializedError("TableScheduler has no database yet: call SchedulerService.init() first")
        return known[0]()

    @classmethod
    async def _carry_out(
        cls,
        tables: Tables,
        families: Sequence[TableFamily],
        verb: Verb,
        today: date,
        before: Sequence[str] = (),
        problems_before: Sequence[str] = (),
    ) -> list[str]:
        changed, problems = list(before), list(problems_before)
        for family in families:
            work = await tables.carry_out(family, verb(family, today))
            changed += work.changed
            problems += work.problems
        for problem in problems:
            logger.error("table families: %s", problem)
        if problems:
            raise SchedulerError("; ".join(problems))
        return changed


async def look_after_history(tables: Tables, log: LoggerLike) -> None:
    """Have the history's partitions ahead, drop those past their time, and say which families run short.

    The leader does this hourly. A drop that fails is left to the next hour; it stops nothing.
    """
    today = await tables.today()
    try:
        await tables.create_history(today)
    except SchedulerError as error:
        log.error("history: partitions ahead can't be created: %s", error)
    for family in tables.history:
        work = await tables.carry_out(family, cleanup(family, today))
        for name in work.changed:
            log.info("history: %s is past its time and was dropped", name)
        for problem in work.problems:
            log.warning("history: %s", problem)
    for finding in await tables.findings(TableScheduler.families()):
        log.warning("tables of %s: %s", finding["subject"], finding["detail"])
