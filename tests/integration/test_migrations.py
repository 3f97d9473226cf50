"""The schema comes to head once, whoever asks; and says what is wrong where it can't."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from scheduler_core.domain.errors import SchemaError, ServerUnreachableError
from storage import migrate


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
    with pytest.raises(SchemaError, match="read-only"):
        await migrate.upgrade_async(empty_database_url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("scheduler:", "scheduler:wrong"), "refused the login"),
        (lambda url: url.rpartition("/")[0] + "/nowhere", "no database"),
        (lambda _: "postgresql://scheduler:hidden@127.0.0.1:1/x", "can't be reached"),
    ],
)
async def test_a_server_out_of_reach_is_named_without_its_password(database_url: str, change, words: str) -> None:
    with pytest.raises(ServerUnreachableError, match=words) as caught:
        await migrate.upgrade_async(change(database_url))
    assert "hidden" not in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_the_statements_can_be_read_before_they_run() -> None:
    text = migrate.sql("mine")
    assert "CREATE TABLE jobs" in text
    assert '"mine_audit"' in text
