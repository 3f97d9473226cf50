"""Tables that come and go: what is planned for a family is carried out here.

Creating comes first and stands alone in its transaction: no failing drop ever takes tomorrow's table along
(pg_partman #678). Nothing waits long for a lock; what is busy is tried again later, beside what is not. Several
callers at once do the work once: each step is planned again under the family's advisory lock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date
from functools import partial
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_delay, wait_random_exponential

from scheduler_core.domain.errors import RefusedForNowError, SchedulerError, ServerUnreachableError
from scheduler_core.domain.tables.family import TableFamily
from scheduler_core.domain.tables.plan import plan_days
from scheduler_core.domain.tables.steps import CreateParent, Detach, Found, Planning, Step
from scheduler_core.ports.tables import TableWork
from scheduler_core.storage.postgres.database import DRIVER_ERRORS, Database
from scheduler_core.storage.postgres.lock_holders import HOLDER, describe_holder
from scheduler_core.storage.postgres.placeholders import fill
from scheduler_core.storage.postgres.sqlstates import Condition, condition_of_error
from scheduler_core.storage.tables import history
from scheduler_core.storage.tables.catalog import RELATIONS, found_from, relation_parameters
from scheduler_core.storage.tables.families import FamilyStore
from scheduler_core.storage.tables.statements import Block, block_of, guard_key, guards, quoted, script_of

logger = logging.getLogger("scheduler_core")

PATIENCE_SECONDS = 20.0
"""How long what is busy is tried again. Who comes later finds what was left."""

STATEMENT_SECONDS = 1_800.0
"""A month of rows may take minutes to sum up; beyond this something is wrong."""

_OURS = (
    "{family.schema}.{family.name}: the schema is the scheduler's own, and its history looks after itself: register "
    "the family in another schema"
)


class TableStore:
    """Creates, fills and drops the tables of families; the scheduler's own history is the first.

    Parameters: direct, a way to the same database past a pooler, where settings of a session would stay with somebody
    else's; history_days, after which days of the history are dropped, None: never; patience_seconds, how long what is
    busy is tried again.
    """

    def __init__(
        self,
        database: Database,
        *,
        direct: Database | None = None,
        history_days: int | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.families = FamilyStore(database)
        self._database = database
        self._direct = direct or database
        self._patience_seconds = patience_seconds
        self.history: Sequence[TableFamily] = history.families(database.schema, history_days)

    async def today(self) -> date:
        """The day, in UTC, by the database's clock."""
        return (await self._database.now()).astimezone(UTC).date()

    async def create_history(self, today: date) -> list[str]:
        """Have the history's partitions, from yesterday's to those ahead; returns the names of the new ones."""
        for family in self.history:
            await self.remember(family)
        created = await self.ensure_history(self.history[0].days_to_create(today))
        await self._fit_out_history()
        return created

    async def _fit_out_history(self) -> None:
        """Give each day what LIKE leaves out, a replica identity and room in its pages, also one that somebody made by
        hand.
        """
        statement = history.FIT_OUT_HISTORY.format(schema=quoted(self._database.schema))
        try:
            async with self._database.transaction() as connection:
                for line in (*guards(self.history[0]), statement):
                    await connection.execute(text(line))
        except (SQLAlchemyError, *DRIVER_ERRORS) as error:
            raise self._database.explain(error) from error

    async def ensure_history(self, days: Iterable[date]) -> list[str]:
        """Have the history's partitions of these days, whatever stands in their way.

        A fire must not wait for a person: where a table of the day's name can't be attached, the partition gets
        another name. Returns the names of the new ones. Raises SchedulerError.
        """
        created: list[str] = []
        days = sorted(set(days))
        for family in self.history:
            work = await self.carry_out(family, partial(plan_days, family, days=days))
            if work.failed or (work.problems and not work.errors):
                logger.warning("%s: once more, and under another name if need be", "; ".join(work.problems))
                created += work.changed
                names = frozenset(work.failed)
                work = await self.carry_out(family, partial(plan_days, family, days=days, spare_for=names))
            if work.problems:
                raise work.errors[0] if work.errors else SchedulerError("; ".join(work.problems))
            created += work.changed
        return created

    async def carry_out(self, family: TableFamily, planning: Planning) -> TableWork:
        """Carry out what is planned, each step for itself; what is busy is tried again for a while.

        A step that fails does not keep the others from being done. Returns the tables that were changed here, and
        what went wrong in the end.
        """
        if self._is_ours(family):
            return TableWork(problems=(_OURS.format(family=family),))
        changed: list[str] = []
        rounds = AsyncRetrying(
            stop=stop_after_delay(self._patience_seconds),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            retry=retry_if_result(lambda work: any(isinstance(e, ServerUnreachableError) for e in work.errors)),
            retry_error_callback=_last_result,
        )
        work: TableWork = await rounds(self._once_round, family, planning, changed)
        return work

    async def _once_round(self, family: TableFamily, planning: Planning, changed: list[str]) -> TableWork:
        try:
            plan = planning(await self._found(family))
        except SchedulerError as error:
            return TableWork(tuple(changed), problems=(str(error),), errors=(error,))
        failed, problems, errors = list[str](), list(plan.problems), list[SchedulerError]()
        for step in plan.steps:
            try:
                done = await self._do(step, planning)
            except SchedulerError as error:
                failed += [] if isinstance(step, Detach) else [step.table.name]
                problems.append(f"{step.family.schema}.{step.table.name}: {error}")
                errors.append(error)
            else:
                if done and not isinstance(step, (CreateParent, Detach)):
                    changed.append(step.table.name)
        return TableWork(tuple(changed), tuple(failed), tuple(problems), tuple(errors))

    async def _do(self, step: Step, planning: Planning) -> bool:
        """Do one step unless somebody else has; False if it was done, or waits for another that failed."""
        if block_of(step).alone:
            return await self._do_alone(step, planning)
        try:
            async with self._database.transaction() as connection:
                for guard in guards(step.family):
                    await connection.execute(text(guard))
                fresh = planning(await self._found(step.family, connection)).again(step)
                if fresh is None or getattr(fresh, "waits_for", None):
                    return False
                driver: Any = (await connection.get_raw_connection()).driver_connection
                for statement in self._block(fresh).statements:
                    await driver.execute(statement, timeout=STATEMENT_SECONDS)
        except (SQLAlchemyError, *DRIVER_ERRORS) as error:
            if condition_of_error(error) is Condition.UNFIT_SCHEMA and not self._is_history(step.family):
                # Not our schema lacks something, but the user's.
                raise SchedulerError(f"Postgres refused it ({error}): correct the family's columns or like") from error
            if condition_of_error(error) is Condition.NOT_NOW:
                await self._name_holder(step.family, error)
            raise self._database.explain(error) from error
        return True

    async def _name_holder(self, family: TableFamily, error: BaseException) -> None:
        """Raise RefusedForNowError where somebody holds the family's own lock: who, and how that is ended."""
        holder = await self._database.fetch_one(HOLDER, {"key": guard_key(family)})
        if holder is not None:
            raise RefusedForNowError(f"somebody is at the family's tables: {describe_holder(holder)}") from error

    async def _do_alone(self, step: Step, planning: Planning) -> bool:
        """DETACH CONCURRENTLY can't run in a transaction, and so not under the lock: who comes second is refused."""
        fresh = planning(await self._found(step.family)).again(step)
        if fresh is None or getattr(fresh, "waits_for", None):
            return False
        if not block_of(fresh).alone:
            return await self._do(fresh, planning)
        block = self._block(fresh)
        try:
            await self._direct.run_alone([line.replace(":", "\\:") for line in block.script(fresh.family)])
        except SchedulerError:
            if planning(await self._found(step.family)).again(step) is None:
                return False
            raise
        return True

    async def rehearse(self, family: TableFamily, planning: Planning) -> tuple[str, Sequence[str]]:
        """What `carry_out` would run now, as psql takes it, and the problems that it would report; changes nothing."""
        if self._is_ours(family):
            return "", (_OURS.format(family=family),)
        plan = planning(await self._found(family))
        return script_of([(step.family, self._block(step)) for step in plan.steps]), plan.problems

    def _block(self, step: Step) -> Block:
        return history.block_of_history(step) if self._is_history(step.family) else block_of(step)

    def _is_history(self, family: TableFamily) -> bool:
        return isinstance(family, history.HistoryFamily)

    def _is_ours(self, family: TableFamily) -> bool:
        return family.schema == self._database.schema and not self._is_history(family)

    async def _found(self, family: TableFamily, connection: AsyncConnection | None = None) -> Found:
        """The catalog's view; in a transaction under way, that transaction's."""

        async def fetch(statement: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
            if connection is None:
                return await self._database.fetch(statement, parameters)
            bound = text(fill(statement, self._database.schema))
            return (await connection.execute(bound, dict(parameters))).fetchall()

        rows = await fetch(RELATIONS, relation_parameters(family))
        found = found_from(family, rows, {})
        if not self._is_history(family):
            return found
        return found_from(family, rows, await history.kept_days(fetch, family, found))

    async def remember(self, family: TableFamily) -> None:
        """Have the family in the database, so that whoever looks there misses its tables when they run short."""
        if not self._is_ours(family):
            await self.families.remember(family)

    async def findings(self, registered: Iterable[TableFamily] = ()) -> list[dict[str, str]]:
        """What a person should look at: families that run short of tables, and days that can't be dropped."""
        runs = self.history[0]
        kept = await history.kept_days(self._database.fetch, runs, Found())
        return await self.families.findings(registered) + [
            {"kind": "kept", "subject": runs.daily_table(day), "detail": f"is past history_days and stays: {why}"}
            for day, why in sorted(kept.items())
        ]


def _last_result(state: RetryCallState) -> Any:
    return state.outcome.result() if state.outcome is not None else None
