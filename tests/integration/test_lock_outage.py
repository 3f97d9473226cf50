"""A lock service that is out of reach for a while: the run waits and tries again, and never executes without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, ServerUnreachableError, load_settings

Sql = psycopg.Connection[Any]


class Flaky:
    """A lock service of the user's, which fails as often as it is told."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.held: set[str] = set()

    async def acquire(self, key: str, ttl: float) -> str | None:
        if self.failures:
            raise self.failures.pop(0)
        if key in self.held:
            return None
        self.held.add(key)
        return key

    async def renew(self, key: str, token: str, ttl: float) -> bool:
        return token in self.held

    async def release(self, key: str, token: str) -> bool:
        self.held.discard(token)
        return True


@pytest.fixture
async def locks() -> Flaky:
    return Flaky()


@pytest.fixture
async def container(database_url: str, redis_url: str, locks: Flaky) -> AsyncIterator[Container]:
    settings = load_settings(
        database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0, drain_timeout=2.0
    )
    made = Container(settings, lock_service=locks)
    yield made
    await made.close()


async def run_row(sql: Sql, *statuses: str) -> Any:
    async def ask() -> Any:
        return sql.execute(
            "SELECT status, reason, attempts, error FROM scheduler_audit.runs WHERE status = ANY(%s)", [list(statuses)]
        ).fetchone()

    return await eventually_async(ask, what=f"{statuses}")


def attempts(sql: Sql) -> list[tuple[Any, ...]]:
    return sql.execute("SELECT attempt, outcome, error_type FROM scheduler_audit.attempts ORDER BY attempt").fetchall()


def once(callback: Any, **policies: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "once", None, callback, use_distributed_lock=True, retry_delay=0.05, **policies)


OUTAGE = ServerUnreachableError("Redis can't be asked")


class TextlessError(RuntimeError):
    """A user's service raises what it likes."""

    def __str__(self) -> str:
        raise SystemExit("no text")


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
async def test_a_short_outage_does_not_lose_the_run(
    container: Container, sql: Sql, locks: Flaky, delivery: str
) -> None:
    calls: list[set[str]] = []
    locks.failures = [OUTAGE, TextlessError()]
    await container.start([once(lambda: calls.append(set(locks.held)), delivery=delivery)])
    assert (await run_row(sql, "succeeded"))[:3] == ("succeeded", None, 3)
    assert attempts(sql) == [
        (1, "failed", "LockUnavailable"),
        (2, "failed", "LockUnavailable"),
        (3, "succeeded", None),
    ]
    assert calls == [{"job:j"}], "called once, and under the lock"
    await eventually_async(lambda: _empty(locks), what="the lock given back")
    assert sql.execute("SELECT run_count, error_count FROM scheduler.jobs").fetchone() == (1, 2)


async def _empty(locks: Flaky) -> bool:
    return not locks.held


async def test_a_long_outage_fails_the_run_after_its_retries(container: Container, sql: Sql, locks: Flaky) -> None:
    calls: list[int] = []
    locks.failures = [OUTAGE] * 100
    await container.start([once(lambda: calls.append(1), max_retries=2)])
    status, _, count, error = await run_row(sql, "failed")
    assert (status, count) == ("failed", 3)
    assert error == "LockUnavailable: Redis can't be asked"
    assert calls == []


async def test_a_lock_that_is_held_once_it_can_be_asked_skips_the_run(
    container: Container, sql: Sql, locks: Flaky
) -> None:
    locks.failures = [OUTAGE]
    locks.held = {"job:j"}
    await container.start([once(lambda: None)])
    assert (await run_row(sql, "skipped"))[:3] == ("skipped", "locked", 1)
    assert attempts(sql) == [(1, "failed", "LockUnavailable")]


async def test_the_lock_is_kept_from_the_first_attempt_to_the_last(
    container: Container, sql: Sql, locks: Flaky
) -> None:
    held: list[bool] = []

    def work() -> None:
        held.append("job:j" in locks.held)
        if len(held) < 3:
            raise ValueError("not yet")

    await container.start([once(work)])
    await run_row(sql, "succeeded")
    assert held == [True] * 3
