"""Which families somebody creates tables for, so that anybody can see that they run short, in plain SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scheduler_core.domain.tables.family import TableFamily
from scheduler_core.storage.postgres.database import Database

# Whoever creates tables says so first; nothing is written where nothing has changed.
REMEMBER = """
INSERT INTO {schema}.table_families AS f (schema_name, family, partitioned, days_ahead, retention_days)
VALUES (:schema_name, :family, :partitioned, :days_ahead, CAST(:retention_days AS integer))
ON CONFLICT (schema_name, family) DO UPDATE
SET partitioned = excluded.partitioned, days_ahead = excluded.days_ahead, retention_days = excluded.retention_days,
    declared_at = clock_timestamp()
WHERE (f.partitioned, f.days_ahead, f.retention_days)
      IS DISTINCT FROM (excluded.partitioned, excluded.days_ahead, excluded.retention_days)
"""

FORGET = """
DELETE FROM {schema}.table_families WHERE schema_name = :schema_name AND family = :family RETURNING family
"""

LISTED = """
SELECT * FROM {audit}.table_families ORDER BY schema_name <> :schema, schema_name, family
"""


class FamilyStore:
    """The table `table_families`, and the view of it that counts the tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, family: TableFamily) -> None:
        """Have the family, as it is declared now."""
        await self._database.fetch(
            REMEMBER,
            {
                "schema_name": family.schema,
                "family": family.name,
                "partitioned": family.partitioned,
                "days_ahead": family.days_ahead,
                "retention_days": family.retention_days,
            },
        )

    async def forget(self, name: str, schema: str) -> bool:
        """Miss the family's tables no more; they stay. False if nobody had declared it."""
        return bool(await self._database.fetch(FORGET, {"schema_name": schema, "family": name}))

    async def listed(self, registered: Iterable[TableFamily] = ()) -> list[dict[str, Any]]:
        """The families and their tables, the scheduler's own first; then those of `registered` that nobody has ever
        created a table for, without figures.
        """
        statement = LISTED.replace("{audit}", f'"{self._database.schema}_audit"')
        rows = [dict(row.items()) for row in await self._database.fetch(statement, {"schema": self._database.schema})]
        known = {(row["schema_name"], row["family"]) for row in rows}
        unknown = [_never_created(family) for family in registered if (family.schema, family.name) not in known]
        return rows + unknown

    async def findings(self, registered: Iterable[TableFamily] = ()) -> list[dict[str, str]]:
        """The families that run short of tables."""
        return [
            {"kind": "tables", "subject": f"{row['schema_name']}.{row['family']}", "detail": _shortage(row)}
            for row in await self.listed(registered)
            if row["is_short"]
        ]


def _never_created(family: TableFamily) -> dict[str, Any]:
    return {
        "schema_name": family.schema,
        "family": family.name,
        "partitioned": family.partitioned,
        "days_ahead": family.days_ahead,
        "retention_days": family.retention_days,
        "tables": None,
        "first_table": None,
        "last_table": None,
        "days_left": None,
        "is_short": True,
    }


def _shortage(row: Mapping[str, Any]) -> str:
    if row["days_left"] is None:
        have = "no table was ever created"
    elif row["days_left"] < 0:
        have = "there is no table for today"
    elif row["days_left"] == 0:
        have = f"there is no table for tomorrow, the last is {row['last_table']}"
    else:
        have = f"there are tables for {row['days_left']} more day(s) only, the last is {row['last_table']}"
    return f"{have}: see why `create_daily_tables` fails or does not run, or run `scheduler tables create`"
