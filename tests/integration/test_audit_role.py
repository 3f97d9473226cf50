"""Who may read the record, and who may change it: asked with real roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.storage.postgres import migrate

Sql = psycopg.Connection[Any]

VIEWS = ("runs", "attempts", "jobs", "job_changes", "calendar_changes", "leadership", "daily_summary")
TABLES = ("runs", "attempts", "jobs", "job_changes", "calendar_changes", "leader_terms", "leader", "instances")


NOT_ALLOWED = (errors.InsufficientPrivilege, errors.WrongObjectType, errors.ObjectNotInPrerequisiteState)


async def work() -> None: ...


def login(sql: Sql, name: str, *options: str) -> str:
    """A role of this test's own that may log in; roles are the cluster's, so its name holds the database's."""
    role = f"{name}_{sql.info.dbname}"
    sql.execute(f"DROP ROLE IF EXISTS {role}")
    sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' {' '.join(options)}")
    return role


def url_as(sql: Sql, role: str) -> str:
    return f"postgresql://{role}:secret@{sql.info.host}:{sql.info.port}/{sql.info.dbname}"


@pytest.fixture
def reader(sql: Sql) -> Iterator[str]:
    role = login(sql, "auditor", "IN ROLE scheduler_audit_reader")
    yield url_as(sql, role)
    sql.execute(f"DROP ROLE {role}")


async def test_a_reader_reads_the_views_and_nothing_else(container: Container, sql: Sql, reader: str) -> None:
    await container.prepare()
    job = ScheduleJob("j", "J", "interval", 60, work)
    await container.get_operations().declare([job.definition("UTC")])
    with psycopg.connect(reader, autocommit=True) as connection:
        for view in VIEWS:
            connection.execute(f"SELECT * FROM scheduler_audit.{view}")
            for statement in (f"DELETE FROM scheduler_audit.{view}", f"TRUNCATE scheduler_audit.{view}"):
                with pytest.raises(NOT_ALLOWED):
                    connection.execute(statement)
        for table in TABLES:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM scheduler.{table}")
        for statement in (
            "INSERT INTO scheduler_audit.job_changes (job_id, version, action) VALUES ('x', 1, 'added')",
            "UPDATE scheduler_audit.jobs SET name = 'x'",
            "CREATE TABLE scheduler_audit.mine (a int)",
            "SELECT scheduler.job_document('{}')",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)
    audits = Container(load_settings(database_url=reader))
    try:
        auditor = audits.get_auditor()
        assert (await auditor.gaps(AuditFilter())).is_clean
        assert await auditor.duplicates(AuditFilter()) == []
        assert len(await auditor.changes(AuditFilter())) == 1
        assert await auditor.leadership(AuditFilter()) == []
    finally:
        await audits.close()


async def test_an_application_s_role_is_logged_and_needs_no_right_on_the_log(container: Container, sql: Sql) -> None:
    """The log's triggers act for the schema's owner; privileges refuse what the trigger would refuse, too."""
    await container.prepare()
    job = ScheduleJob("j", "J", "interval", 60, work)
    await container.get_operations().declare([job.definition("UTC")])
    role = login(sql, "app")
    try:
        sql.execute(f"GRANT USAGE ON SCHEMA scheduler TO {role}")
        sql.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON scheduler.jobs TO {role}")
        with psycopg.connect(url_as(sql, role), autocommit=True) as connection:
            connection.execute("UPDATE scheduler.jobs SET max_retries = 1")
            for statement in (
                "INSERT INTO scheduler.job_changes (job_id, version, action) VALUES ('x', 1, 'added')",
                "UPDATE scheduler.job_changes SET actor = 'x'",
                "DELETE FROM scheduler.job_changes",
                "TRUNCATE scheduler.job_changes",
                "ALTER TABLE scheduler.job_changes DISABLE TRIGGER append_only",
            ):
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(statement)
        row = sql.execute("SELECT actor, source, database_user FROM scheduler.job_changes WHERE version = 2").fetchone()
        assert row == (role, "sql", role)
    finally:
        sql.execute(f"DROP OWNED BY {role}")
        sql.execute(f"DROP ROLE {role}")


async def test_an_owner_without_powers_migrates_and_can_t_rewrite_the_log(empty_database_url: str) -> None:
    """It may not create roles, which is said in the docs; it owns the log, and is refused by privilege."""
    with psycopg.connect(empty_database_url, autocommit=True) as sql:
        role = login(sql, "owner")
        sql.execute(f"GRANT CREATE ON DATABASE {sql.info.dbname} TO {role}")
        url = url_as(sql, role)
        # A name that no other test's migration creates the role for.
        schema = f"s_{sql.info.dbname}"
        reader = f"{schema}_audit_reader"
        try:
            await migrate.upgrade_async(url, schema)
            await migrate.check(url, schema)
            await migrate.drift(url, schema)
            assert sql.execute("SELECT count(*) FROM pg_roles WHERE rolname = %s", [reader]).fetchone() == (0,)
            audits = Container(load_settings(database_url=url, schema=schema))
            to_create = await audits.get_auditor().how_to_create_reader()
            assert to_create is not None
            with psycopg.connect(url, autocommit=True) as owner:
                for statement in ("UPDATE {} SET actor = 'x'", "DELETE FROM {}", "TRUNCATE {}"):
                    with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
                        owner.execute(statement.format(f"{schema}.job_changes"))
            sql.execute(to_create)
            assert await audits.get_auditor().how_to_create_reader() is None
            await audits.close()
            await migrate.downgrade_async(url, schema)
            sql.execute(f"DROP ROLE {reader}")
            # Created by an administrator first: then the migration grants.
            sql.execute(f"CREATE ROLE {reader} NOLOGIN")
            await migrate.upgrade_async(url, schema)
            granted = sql.execute("SELECT has_schema_privilege(%s, %s, 'USAGE')", [reader, f"{schema}_audit"])
            assert granted.fetchone() == (True,)
            await migrate.downgrade_async(url, schema)
            sql.execute(f"DROP ROLE {reader}")
        finally:
            sql.execute(f"DROP OWNED BY {role} CASCADE")
            sql.execute(f"DROP ROLE {role}")


async def test_schemas_and_databases_share_a_cluster(database_url: str, empty_database_url: str) -> None:
    """Roles are the cluster's: two databases with a schema of one name share the reader; another schema has its own."""
    await migrate.upgrade_async(empty_database_url)
    await migrate.upgrade_async(empty_database_url, "other")
    with psycopg.connect(empty_database_url, autocommit=True) as sql:
        rights = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
        for role, schema, may in (
            ("scheduler_audit_reader", "scheduler_audit", True),
            ("other_audit_reader", "other_audit", True),
            ("scheduler_audit_reader", "other_audit", False),
            ("other_audit_reader", "scheduler_audit", False),
        ):
            assert sql.execute(rights, [role, schema]).fetchone() == (may,)
        await migrate.downgrade_async(empty_database_url)
        left = sql.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'scheduler_audit_reader'").fetchone()
        assert left == (1,), "the other database's readers are not ours to take"
        functions = sql.execute(
            "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'scheduler'"
        ).fetchone()
        assert functions == (0,)
        await migrate.upgrade_async(empty_database_url)
    with psycopg.connect(database_url, autocommit=True) as sql:
        assert sql.execute(rights, ["scheduler_audit_reader", "scheduler_audit"]).fetchone() == (True,)


def test_the_statements_that_create_the_role_can_be_read() -> None:
    text = migrate.sql("mine")
    assert 'CREATE ROLE "mine_audit_reader" NOLOGIN' in text
    assert 'GRANT SELECT ON ALL TABLES IN SCHEMA "mine_audit" TO "mine_audit_reader"' in text


async def test_the_printed_statements_are_the_migration(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as sql:
        sql.execute(migrate.sql())
    await migrate.check(empty_database_url)
    await migrate.drift(empty_database_url)


@pytest.mark.parametrize("source", list(Source))
async def test_each_change_says_by_which_door_it_came(container: Container, sql: Sql, source: Source) -> None:
    await container.prepare()
    actor = Actor(source, 'token "weekly report"; o\'clock ☂')
    operations = container.get_operations(actor)
    await operations.declare([ScheduleJob("j", "J", "interval", 60, work).definition("UTC")])
    await operations.pause("j")
    await operations.remove("j")
    rows = sql.execute("SELECT DISTINCT source, actor, database_user FROM scheduler_audit.job_changes").fetchall()
    assert rows == [(source.value, actor.name, "postgres")]


async def test_what_one_statement_says_of_itself_does_not_stay_with_the_session(container: Container, sql: Sql) -> None:
    """Sessions are pooled, here and perhaps by a pooler between us: the next statement may be anybody's."""
    await container.prepare()
    database = container.get_database()
    for _ in range(6):
        await container.get_operations().declare([ScheduleJob("j", "J", "interval", 60, work).definition("UTC")])
        await database.fetch("DELETE FROM {schema}.jobs")
    rows = sql.execute("SELECT action, source FROM scheduler_audit.job_changes ORDER BY version").fetchall()
    assert rows == [("added", "cli"), ("removed", "sql")] * 6


async def test_code_names_itself_and_what_the_scheduler_does_by_itself_names_the_replica(
    container: Container, sql: Sql
) -> None:
    async def fail() -> None:
        raise RuntimeError("no")

    await container.start()
    scheduler = container.get_scheduler()
    await scheduler.add_job(ScheduleJob("j", "J", "interval", 0.05, fail, max_retries=0, disable_after=2))

    async def disabled() -> bool:
        return sql.execute("SELECT 1 FROM scheduler.jobs WHERE auto_disabled_at IS NOT NULL").fetchone() is not None

    await eventually_async(disabled)
    await scheduler.operations.resume("j")
    rows = sql.execute(
        "SELECT action, source, actor FROM scheduler_audit.job_changes ORDER BY version LIMIT 3"
    ).fetchall()
    instance = scheduler.instance
    me = f"{instance.instance_name}@{instance.host}"
    assert rows == [
        ("added", "code", me),
        ("disabled", "scheduler", instance.instance_id),
        ("enabled", "code", me),
    ]
    orphans = sql.execute(
        "SELECT count(*) FROM scheduler_audit.runs r WHERE 1 <> (SELECT count(*) FROM scheduler_audit.job_changes c "
        "WHERE c.job_id = r.job_id AND c.version = r.definition_version)"
    ).fetchone()
    assert orphans == (0,), "each run joins with the one change that made its definition"
