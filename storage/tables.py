"""Tables that come and go: the DDL of table families.

Creating comes first and stands alone in its transaction: no failing drop ever takes tomorrow's table along
(FIELD: pg_partman #678). Dropping waits only briefly for its lock and tries again later, so that it never queues
the application's statements behind itself; a partition is detached concurrently before it is dropped. Several
callers at once do the same work once: each table is created under an advisory lock, and found to exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.table_family import Summary, TableFamily
from storage.database import TABLE_EXISTS, Database
from storage.keys import advisory_key
from storage.partitions import Partitions
from storage.schema import PARTITIONED

LOCK_TIMEOUT = "500ms"
DROP_ATTEMPTS = 6

TABLES = """
SELECT c.relname AS name, n.nspname AS schema, p.relname AS parent
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND starts_with(c.relname, :prefix)
ORDER BY c.relname
"""


class TableStore:
    """Creates, fills and drops the tables of a family."""

    def __init__(self, database: Database, partitions: Partitions, *, history_days: int) -> None:
        self._database = database
        self._partitions = partitions
        self._history = [
            TableFamily(
                table,
                like=table,
                schema=database.schema,
                partitioned=True,
                time_column="scheduled_for",
                retention_days=history_days,
            )
            for table in PARTITIONED
        ]

    async def create_history(self, today: date) -> list[str]:
        """Have the partitions of the scheduler's own history."""
        return await self._partitions.ensure_ahead(
            datetime(today.year, today.month, today.day, tzinfo=UTC), self._history[0].days_ahead
        )

    async def drop_history(self, today: date) -> list[str]:
        """Drop the partitions of the scheduler's own history that are past `history_days`."""
        dropped: list[str] = []
        for family in self._history:
            for name, parent in (await self.existing(family)).items():
                if family.is_outdated(name, today):
                    await self.drop(family, name, parent)
                    dropped.append(name)
        return dropped

    async def today(self) -> date:
        """The day, in UTC, by the database's clock."""
        return (await self._database.now()).astimezone(UTC).date()

    async def existing(self, family: TableFamily) -> dict[str, str | None]:
        """The family's tables, daily and summaries, with the table that each is a partition of."""
        rows = await self._database.fetch(TABLES, {"schema": family.schema, "prefix": f"{family.name}_"})
        return {
            row.name: row.parent
            for row in rows
            if family.day_of(row.name) is not None or family.month_of(row.name) is not None
        }

    async def create_day(self, family: TableFamily, day: date) -> bool:
        """Create one daily table; False if it was there."""
        name = family.daily_table(day)
        if family.partitioned:
            await self._create(family, family.name, [_create_parent(family)])
            first = datetime(day.year, day.month, day.day, tzinfo=UTC)
            return await self._create(
                family,
                name,
                [
                    f"CREATE TABLE {_table(family, name)} (LIKE {_table(family, family.name)} INCLUDING ALL)",
                    f"ALTER TABLE {_table(family, family.name)} ATTACH PARTITION {_table(family, name)} FOR VALUES "
                    f"FROM ('{first.isoformat()}') TO ('{(first + timedelta(days=1)).isoformat()}')",
                ],
            )
        return await self._create(family, name, [f"CREATE TABLE {_table(family, name)} ({_columns(family)})"])

    async def create_summary(self, family: TableFamily, month: date) -> bool:
        """Compute one month from its days, anew each time; False if it has no days."""
        assert isinstance(family.summary, Summary)
        after = (month + timedelta(days=32)).replace(day=1)
        days = [
            name
            for name in await self.existing(family)
            if (day := family.day_of(name)) is not None and month <= day < after
        ]
        if not days:
            return False
        name = family.summary_table(month)
        source = " UNION ALL ".join(f"SELECT * FROM {_table(family, day)}" for day in days)
        by = [f'"{column}"' for column in family.summary.by]
        wanted = [
            *by,
            *(f'{aggregate} AS "{column}"' for column, aggregate in family.summary.columns.items()),
        ]
        query = f"SELECT {', '.join(wanted)} FROM ({source}) AS days"
        if by:
            query += f" GROUP BY {', '.join(by)}"
        await self._create(family, name, [f"CREATE TABLE {_table(family, name)} AS {query} WITH NO DATA"])
        await self._transact(
            family,
            name,
            [f"DELETE FROM {_table(family, name)}", f"INSERT INTO {_table(family, name)} {query}"],
        )
        return True

    async def drop(self, family: TableFamily, name: str, parent: str | None) -> None:
        """Drop one table. Tries again while somebody uses it; raises SchedulerError in the end."""
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(DROP_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            retry=retry_if_exception_type(SchedulerError),
            reraise=True,
        ):
            with attempt:
                if parent is not None:
                    await self._detach(family, name, parent)
                    parent = None
                await self._transact(family, name, [f"DROP TABLE IF EXISTS {_table(family, name)}"])

    async def _detach(self, family: TableFamily, name: str, parent: str) -> None:
        # CONCURRENTLY runs outside of a transaction. One that was cut off half-way is finished first.
        detach = f"ALTER TABLE {_table(family, parent)} DETACH PARTITION {_table(family, name)}"
        pending = await self._database.fetch_one(
            "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(:name)",
            {"name": _table(family, name)},
        )
        if pending is None:
            return
        mode = "FINALIZE" if pending.inhdetachpending else "CONCURRENTLY"
        await self._database.run_alone([f"SET lock_timeout = '{LOCK_TIMEOUT}'", f"{detach} {mode}"])

    async def _create(self, family: TableFamily, name: str, statements: Sequence[str]) -> bool:
        known = await self._database.fetch_one(TABLE_EXISTS, {"schema": family.schema, "name": name})
        if known is not None and known[0]:
            return False
        return await self._transact(family, name, statements, unless_exists=name)

    async def _transact(
        self, family: TableFamily, name: str, statements: Sequence[str], *, unless_exists: str | None = None
    ) -> bool:
        try:
            async with self._database.transaction() as connection:
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(CAST(:key AS bigint))"),
                    {"key": advisory_key("table", family.schema, family.name)},
                )
                if unless_exists is not None:
                    found = await connection.execute(
                        text(TABLE_EXISTS), {"schema": family.schema, "name": unless_exists}
                    )
                    if found.scalar():
                        return False
                for statement in statements:
                    await connection.execute(text(statement))
        except (SQLAlchemyError, OSError) as error:
            raise SchedulerError(f"table {family.schema}.{name}: {self._database.explain(error)}") from error
        return True


def _table(family: TableFamily, name: str) -> str:
    return f'"{family.schema}"."{name}"'


def _columns(family: TableFamily) -> str:
    if family.like is not None:
        return f'LIKE "{family.schema}"."{family.like}" INCLUDING ALL'
    return ", ".join(f'"{column}" {kind}' for column, kind in (family.columns or {}).items())


def _create_parent(family: TableFamily) -> str:
    return (
        f'CREATE TABLE {_table(family, family.name)} ({_columns(family)}) PARTITION BY RANGE ("{family.time_column}")'
    )
