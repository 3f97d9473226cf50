"""Least privilege: the SQL of docs/roles.md carried out, and what each role then can and can't do, also a day later."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from logins import forget
from pages import ROOT, blocks_of
from psycopg import errors
from waiting import eventually_async

from scheduler_core import BaseScheduler, Container, ScheduleJob, load_settings
from scheduler_core.admin.doctor import examine
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.storage.postgres import migrate
from scheduler_core.storage.postgres.rights import grants

Sql = psycopg.Connection[Any]

BLOCKS = [block.text for block in blocks_of(ROOT / "docs" / "roles.md") if block.language == "sql"]
ROLES = ("owner", "replica", "auditor", "reports")

DENIED = (
    "CREATE TABLE {schema}.mine (a integer)",
    "CREATE TABLE {schema}.runs_20200101 PARTITION OF {schema}.runs FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')",
    "DROP TABLE {schema}.jobs CASCADE",
    "TRUNCATE {schema}.jobs",
    "ALTER TABLE {schema}.jobs ADD COLUMN mine integer",
    "ALTER TABLE {schema}.job_changes DISABLE TRIGGER append_only",
    "DELETE FROM {schema}.runs",
    "DELETE FROM {schema}.attempts",
    "INSERT INTO {schema}.job_changes (job_id, version, action) VALUES ('x', 1, 'added')",
    "INSERT INTO {schema}.failed_attempts (job_id) VALUES ('x')",
    "UPDATE {schema}.job_changes SET actor = 'x'",
    "UPDATE {schema}.alembic_version SET version_num = '9999'",
    "UPDATE {schema}.daily_summaries SET runs = 0",
    "DELETE FROM {schema}_audit.runs",
)


@dataclass(frozen=True)
class Stage:
    """A database whose roles are those of the page, under names of this test's own."""

    sql: Sql
    schema: str

    def said(self, text: str) -> str:
        text = re.sub(r"\bscheduler(?=\b|_audit|_owner|_replica|_reports)", self.schema, text)
        return text.replace("DATABASE app", f'DATABASE "{self.sql.info.dbname}"')

    def role(self, name: str) -> str:
        return f"{self.schema}_{name}"

    def url(self, name: str) -> str:
        info = self.sql.info
        return f"postgresql://{self.role(name)}:secret@{info.host}:{info.port}/{info.dbname}"

    def container(self, name: str, redis_url: str) -> Container:
        return Container(
            load_settings(
                database_url=self.url(name), redis_url=redis_url, schema=self.schema, timezone="UTC", lease_ttl=1.0
            )
        )

    def partitions(self) -> set[str]:
        rows = self.sql.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            f"WHERE i.inhparent = '{self.schema}.runs'::regclass AND pg_get_userbyid(c.relowner) = %s",
            [self.role("owner")],
        )
        return {name for (name,) in rows.fetchall()}


@pytest.fixture
async def stage(empty_database_url: str) -> AsyncIterator[Stage]:
    """The page, carried out."""
    with psycopg.connect(empty_database_url, autocommit=True) as sql:
        made = Stage(sql, f"s_{sql.info.dbname}")
        roles = [made.role(name) for name in (*ROLES, "audit_reader")]
        for role in roles:
            forget(sql, role)
        once, each_version = BLOCKS
        sql.execute(made.said(once))
        await migrate.upgrade_async(made.url("owner"), made.schema)
        with psycopg.connect(made.url("owner"), autocommit=True) as owner:
            owner.execute(made.said(each_version))
        try:
            yield made
        finally:
            for role in roles:
                forget(sql, role)


@pytest.fixture
async def replica(stage: Stage, redis_url: str) -> AsyncIterator[Container]:
    made = stage.container("replica", redis_url)
    yield made
    await made.close()


def statements(text: str) -> set[str]:
    """One by one, without comments and line breaks."""
    plain = re.sub(r"--[^\n]*", "", text)
    return {" ".join(statement.split()) for statement in plain.split(";") if statement.strip()}


def test_the_page_grants_what_the_doctor_looks_for() -> None:
    assert statements(BLOCKS[1]) == set(grants("scheduler", "scheduler_replica"))


async def leads(container: Container) -> BaseScheduler:
    scheduler = await container.start()
    await eventually_async(lambda: scheduler.is_leader, what="it leads")
    return scheduler


async def fires(stage: Stage, scheduler: BaseScheduler, name: str = "fires") -> None:
    await scheduler.add_job(ScheduleJob(name, "F", "once", None, _work))
    ended = f"SELECT status FROM {stage.schema}_audit.runs WHERE job_id = %s"
    await eventually_async(lambda: stage.sql.execute(ended, [name]).fetchone() == ("succeeded",), what="it fires")


async def _work() -> None: ...


async def _fail() -> None:
    raise RuntimeError("no")


async def test_a_replica_that_owns_nothing_does_all_that_a_replica_does(stage: Stage, replica: Container) -> None:
    """pg_partman #558, #285: who owns the tables, and who works with them, are not the same."""
    scheduler = await leads(replica)
    await fires(stage, scheduler)
    await scheduler.add_job(ScheduleJob("fails", "X", "interval", 0.05, _fail, max_retries=1, retry_delay=0.01))
    attempts = f"SELECT count(*) FROM {stage.schema}_audit.attempts WHERE job_id = 'fails'"
    await eventually_async(lambda: (stage.sql.execute(attempts).fetchone() or (0,))[0] >= 4)
    operations = scheduler.operations
    await operations.pause("fails")
    await operations.resume("fails")
    await operations.trigger("fails")
    await operations.remove("fails")
    await replica.get_calendars().put(Calendar("holidays", excluded_dates=["2026-12-25"]))
    await replica.get_calendars().remove("holidays")
    await replica.get_tokens().create("mine", Scope.VIEWER, days=None, by="test")
    term = scheduler.leadership.term if scheduler.leadership else 0
    assert await replica.ask_to_resign(term)
    await eventually_async(lambda: scheduler.leadership is not None and scheduler.leadership.term > term)
    found = (await examine(replica))["findings"]
    assert {finding["kind"] for finding in found} <= {"undeclared"}


async def test_a_day_later_the_next_day_is_made(stage: Stage, replica: Container) -> None:
    await replica.prepare()
    before = stage.partitions()
    assert before, "the owner's, though a replica had them made"
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    await replica.get_tables().create_history(tomorrow)
    [new] = stage.partitions() - before
    assert new == f"runs_{tomorrow + timedelta(days=3):%Y%m%d}"


async def test_without_the_right_to_make_days_it_starts_with_those_there_are_and_says_so(
    stage: Stage, replica: Container, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    owner = stage.container("owner", redis_url)
    await owner.create_history()
    await owner.close()
    last = max(stage.partitions())
    stage.sql.execute(f"DROP TABLE {stage.schema}.{last}")
    function = f"{stage.schema}.create_history_day(text,text,date)"
    stage.sql.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM {stage.role('replica')}")
    caplog.set_level(logging.ERROR)
    scheduler = await leads(replica)
    await fires(stage, scheduler)
    [said] = [record.getMessage() for record in caplog.records if "partitions ahead can't be made" in record.message]
    assert "permission denied for function create_history_day" in said
    [found] = [finding for finding in (await examine(replica))["findings"] if finding["kind"] == "rights"]
    assert f"GRANT EXECUTE ON FUNCTION {function} TO {stage.role('replica')}" in found["detail"]
    await replica.stop()
    stage.sql.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {stage.role('replica')}")
    await replica.prepare()
    assert last in stage.partitions()
    assert (await replica.get_rights().lacking()).findings == ()


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE"])
async def test_what_is_missing_is_said_on_the_first_day_with_its_grant(
    stage: Stage, replica: Container, right: str
) -> None:
    await replica.prepare()
    stage.sql.execute(f"REVOKE {right} ON {stage.schema}.runs FROM {stage.role('replica')}")
    [found] = [finding for finding in (await examine(replica))["findings"] if finding["kind"] == "rights"]
    assert f"GRANT {right} ON {stage.schema}.runs TO {stage.role('replica')}" in found["detail"]


async def test_a_role_without_any_right_is_told_where_they_stand(stage: Stage, replica: Container) -> None:
    stage.sql.execute(f"REVOKE USAGE ON SCHEMA {stage.schema} FROM {stage.role('replica')}")
    with pytest.raises(Exception, match=r"permission denied for schema .*docs/roles\.md"):
        await replica.start()


def test_a_replica_may_not_do_what_it_need_not(stage: Stage) -> None:
    with psycopg.connect(stage.url("replica"), autocommit=True) as connection:
        for statement in DENIED:
            with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)):
                connection.execute(statement.format(schema=stage.schema))


@pytest.mark.parametrize("name", ["auditor", "reports"])
def test_who_reads_the_record_reads_the_views_alone(stage: Stage, name: str) -> None:
    views = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'v'"
    tables = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')"
    with psycopg.connect(stage.url(name), autocommit=True) as connection:
        for (view,) in stage.sql.execute(views, [f"{stage.schema}_audit"]).fetchall():
            connection.execute(f"SELECT * FROM {stage.schema}_audit.{view}")
        for (table,) in stage.sql.execute(tables, [stage.schema]).fetchall():
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {stage.schema}.{table}")
        limit = connection.execute("SELECT current_setting('statement_timeout')").fetchone()
        assert limit == (("1min",) if name == "reports" else ("0",))
