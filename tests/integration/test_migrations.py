"""The schema comes to head once, whoever asks; and says what is wrong where it can't."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from commands import Command
from versions import NEXT, next_migrations

from scheduler_core.admin.schema import statements_to_head
from scheduler_core.cli.exit_codes import exit_code_of
from scheduler_core.domain.errors import RefusedForNowError, SchemaError, ServerUnreachableError
from scheduler_core.domain.revision import OLDEST
from scheduler_core.storage.postgres import migrate


async def test_up_down_and_up_again(empty_database_url: str) -> None:
    await migrate.upgrade_async(empty_database_url)
    await migrate.check(empty_database_url)
    await migrate.downgrade_async(empty_database_url)
    assert (await migrate.revisions(empty_database_url))[0] is None
    await migrate.upgrade_async(empty_database_url)
    await migrate.check(empty_database_url)


async def test_the_tables_are_what_the_code_declares(empty_database_url: str) -> None:
    await migrate.upgrade_async(empty_database_url)
    await migrate.drift(empty_database_url)


async def test_a_difference_between_tables_and_code_is_seen(empty_database_url: str) -> None:
    """The check above can fail."""
    await migrate.upgrade_async(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE scheduler.jobs ADD COLUMN surprise text")
    with pytest.raises(SchemaError, match="surprise"):
        await migrate.drift(empty_database_url)


async def test_replicas_that_start_together_migrate_once(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate.upgrade_async(empty_database_url) for _ in range(6)))
    await migrate.check(empty_database_url)


async def test_two_schemas_live_side_by_side(empty_database_url: str) -> None:
    await migrate.upgrade_async(empty_database_url, "one")
    await migrate.upgrade_async(empty_database_url, "two")
    await migrate.check(empty_database_url, "one")
    await migrate.check(empty_database_url, "two")


async def test_a_missing_schema_says_what_to_do(empty_database_url: str) -> None:
    with pytest.raises(SchemaError, match="scheduler migrate"):
        await migrate.check(empty_database_url)


async def test_a_schema_one_revision_ahead_is_left_alone_and_worked_with(
    database_url: str, sql: psycopg.Connection[object], command: Command
) -> None:
    sql.execute("UPDATE scheduler.alembic_version SET version_num = %s", [NEXT])
    await migrate.upgrade_async(database_url)
    assert "one newer" in str(await migrate.check(database_url))
    assert "one newer" in command("migrate", "--check").stdout


async def test_a_schema_that_lacks_what_this_version_needs_is_refused(
    database_url: str, sql: psycopg.Connection[object], command: Command
) -> None:
    sql.execute("UPDATE scheduler.alembic_version SET version_num = %s", [f"{int(OLDEST) - 1:04}"])
    with pytest.raises(SchemaError, match="too old"):
        await migrate.check(database_url)
    assert "run `scheduler migrate`" in command("migrate", "--check", code=1).stderr
    assert "too old" in command("doctor", code=1).stderr


async def test_who_holds_a_lock_for_too_long_is_named_and_nothing_is_changed(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate.upgrade_async(empty_database_url)
    folder = next_migrations(tmp_path)
    with psycopg.connect(empty_database_url, application_name="a report") as slow, monkeypatch.context() as patch:
        slow.execute("SELECT FROM scheduler.attempts")
        patch.setattr("scheduler_core.storage.postgres.revisions.folder", lambda: folder)
        with pytest.raises(SchemaError, match=rf"session {slow.info.backend_pid} \(a report, idle in transaction\)"):
            await migrate.upgrade_async(empty_database_url, give_up_seconds=0.5)
    await migrate.drift(empty_database_url)
    assert await migrate.check(empty_database_url) is None


async def test_a_revision_may_build_an_index_concurrently_while_others_wait_to_migrate(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CREATE INDEX CONCURRENTLY waits for every older snapshot: neither the guard nor who waits for it may have one."""
    await migrate.upgrade_async(empty_database_url)
    folder = next_migrations(tmp_path)
    monkeypatch.setattr("scheduler_core.storage.postgres.revisions.folder", lambda: folder)
    await asyncio.wait_for(asyncio.gather(*(migrate.upgrade_async(empty_database_url) for _ in range(4))), 30)
    assert (await migrate.revisions(empty_database_url))[0] == NEXT


async def test_a_newer_schema_is_left_alone(database_url: str, sql: psycopg.Connection[object]) -> None:
    sql.execute("UPDATE scheduler.alembic_version SET version_num = '9999'")
    for attempt in (migrate.upgrade_async(database_url), migrate.check(database_url)):
        with pytest.raises(SchemaError, match="newer"):
            await attempt


async def test_an_older_schema_says_what_to_do(database_url: str, sql: psycopg.Connection[object]) -> None:
    sql.execute("DELETE FROM scheduler.alembic_version")
    with pytest.raises(SchemaError, match="scheduler migrate"):
        await migrate.check(database_url)


async def test_a_read_only_database_says_so(empty_database_url: str) -> None:
    name = empty_database_url.rpartition("/")[2]
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with pytest.raises(RefusedForNowError, match="read-only"):
        await migrate.upgrade_async(empty_database_url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("postgres:", "postgres:wrong"), "refused the login"),
        (lambda url: url.rpartition("/")[0] + "/nowhere", "no database"),
        (lambda _: "postgresql://scheduler:hidden@127.0.0.1:1/x", "can't be reached"),
    ],
)
async def test_a_server_out_of_reach_is_named_without_its_password(database_url: str, change, words: str) -> None:
    with pytest.raises(ServerUnreachableError, match=words) as caught:
        await migrate.upgrade_async(change(database_url))
    assert "hidden" not in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert exit_code_of(caught.value) == 3


def test_the_statements_can_be_read_before_they_run() -> None:
    text = migrate.sql("mine")
    assert "CREATE TABLE jobs" in text
    assert '"mine_audit"' in text
    assert "SET lock_timeout" in text


def test_the_statements_from_one_revision_on_can_be_read_too(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no way" in command("migrate", "--sql", "--from", "0815", code=1).stderr
    own, folder = migrate.head(), next_migrations(tmp_path)
    monkeypatch.setattr("scheduler_core.storage.postgres.revisions.folder", lambda: folder)
    text = statements_to_head("scheduler", since=own)
    assert f"-> {NEXT}" in text
    assert "CREATE TABLE jobs" not in text
