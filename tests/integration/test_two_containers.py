"""Two schedulers in one process, each on a database of its own: neither sees, changes or outlives the other."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import prometheus_client
import psycopg
import pytest
from waiting import eventually_async
from web_clients import with_token

from scheduler_core import (
    Container,
    NotInitializedError,
    ScheduleJob,
    SchedulerService,
    ServiceContainer,
    Settings,
    TableFamily,
    TableScheduler,
    load_settings,
)
from scheduler_core.domain.access.access import Scope
from scheduler_core.service import _declared
from scheduler_core.web import create_app

Sql = psycopg.Connection[Any]


def tables_job(job_id: str) -> ScheduleJob:
    return ScheduleJob(job_id, job_id, "interval", 3600, TableScheduler.create_daily_tables)


@pytest.fixture
def both_settings(database_url: str, empty_database_url: str, redis_url: str) -> tuple[Settings, Settings]:
    first, second = (
        load_settings(database_url=url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0, drain_timeout=1.0)
        for url in (database_url, empty_database_url)
    )
    return first, second


@pytest.fixture
async def both(both_settings: tuple[Settings, Settings]) -> AsyncIterator[tuple[Container, Container]]:
    """Two that take part, the second begun last, with a table family that both look after."""
    TableScheduler.register(TableFamily("side", columns={"n": "int"}, days_ahead=0))
    containers = Container(both_settings[0]), Container(both_settings[1])
    try:
        for number, container in enumerate(containers):
            await container.start([tables_job(f"tables-{number}")])
        yield containers
    finally:
        for container in containers:
            await container.close()
        TableScheduler.unregister("side")


async def tables_of(container: Container) -> int:
    found = await container.get_database().fetch(
        "SELECT count(*) AS n FROM pg_class WHERE relkind = 'r' AND relname ~ '^side_[0-9]{8}$'"
    )
    return int(found[0].n)


async def run(container: Container, job_id: str) -> None:
    """Trigger a job, and wait until it has succeeded."""
    triggered = await container.get_scheduler().operations.trigger(job_id)

    async def succeeded() -> bool:
        details = await container.run_details(triggered.run_id)
        assert details["status"] not in {"failed", "lost"}, details
        return bool(details["status"] == "succeeded")

    await eventually_async(succeeded, what=job_id)


@pytest.mark.parametrize("which", [0, 1])
async def test_a_callback_looks_after_the_tables_of_the_scheduler_that_calls_it(
    both: tuple[Container, Container], which: int
) -> None:
    await run(both[which], f"tables-{which}")
    assert [await tables_of(container) for container in both] == [int(which == 0), int(which == 1)]


@pytest.mark.parametrize("closed", [0, 1])
async def test_closing_one_leaves_the_other_alone(both: tuple[Container, Container], closed: int) -> None:
    other = 1 - closed
    leadership = await eventually_async(lambda: both[other].get_scheduler().leadership)
    await both[closed].close()
    await run(both[other], f"tables-{other}")
    assert await tables_of(both[other]) == 1
    assert both[other].get_scheduler().leadership == leadership
    assert [status.job_id for status in await both[other].job_statuses(["tables-0", "tables-1"])] == [f"tables-{other}"]


async def test_by_hand_one_says_on_whose_tables(both: tuple[Container, Container]) -> None:
    """A guess would be a write into the wrong database."""
    with pytest.raises(NotInitializedError, match="2 containers"):
        await TableScheduler.create_daily_tables()
    with TableScheduler.on(both[0].get_tables):
        assert len(await TableScheduler.create_daily_tables()) == 1
    assert [await tables_of(container) for container in both] == [1, 0]
    await both[0].close()
    assert len(await TableScheduler.create_daily_tables()) == 1, "there is only one left"
    with pytest.raises(NotInitializedError, match="has been closed"), TableScheduler.on(both[0].get_tables):
        await TableScheduler.create_daily_tables()


async def test_an_applications_own_container_takes_nothing_from_the_service(
    both_settings: tuple[Settings, Settings],
) -> None:
    """`create_app(settings=…)` beside `SchedulerService`: the service goes on when the application ends."""
    TableScheduler.register(TableFamily("side", columns={"n": "int"}, days_ahead=0))
    before = dict(_declared)
    SchedulerService.init(settings=both_settings[0])
    try:
        await SchedulerService.start()
        app = create_app(settings=both_settings[1])
        async with app.router.lifespan_context(app):
            # The container that init made is the default one.
            assert len(await TableScheduler.create_daily_tables()) == 1
        assert await TableScheduler.create_daily_tables() == []
        await SchedulerService.add_job(tables_job("tables"))
        await run(ServiceContainer.get(), "tables")
        assert await tables_of(ServiceContainer.get()) == 1
    finally:
        await SchedulerService.shutdown()
        TableScheduler.unregister("side")
        assert dict(_declared) == before


async def test_pages_and_metrics_are_those_of_their_own_container(both: tuple[Container, Container]) -> None:
    for number, container in enumerate(both):
        await eventually_async(lambda container=container: container.get_scheduler().is_leader)
        _, token = await container.get_tokens().create(f"t{number}", Scope.ADMIN, days=1, by="test")
        async with with_token(create_app(container), token) as client:
            jobs = (await client.get("/api/v1/jobs")).json()
            assert [job["job_id"] for job in jobs["items"]] == [f"tables-{number}"]
            metrics = (await client.get("/metrics")).text
            assert container.get_scheduler().instance.instance_id in metrics
            assert both[1 - number].get_scheduler().instance.instance_id not in metrics


async def test_nothing_of_the_process_is_changed(both_settings: tuple[Settings, Settings]) -> None:
    """Signals, loggers, metrics, the environment: they belong to the application."""

    def state() -> dict[str, Any]:
        loggers = [logging.getLogger(), logging.getLogger("scheduler_core")]
        return {
            "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
            "handlers": [(logger.level, list(logger.handlers), list(logger.filters)) for logger in loggers],
            "metrics": set(prometheus_client.REGISTRY._names_to_collectors),
            "environment": dict(os.environ),
        }

    before = state()
    first, second = Container(both_settings[0]), Container(both_settings[1])
    await first.start()
    await second.start()
    assert state() == before
    await first.close()
    await second.close()
    assert state() == before


@pytest.mark.parametrize("closed", [0, 1])
async def test_embedded_servers_end_with_the_last_container_that_uses_them(tmp_path: Path, closed: int) -> None:
    """Without URLs both find the same folder, and the second joins the servers that the first has started."""
    both = [Container(load_settings(data_dir=tmp_path, schema=schema)) for schema in ("one", "other")]
    urls = [container.database_url for container in both]
    assert urls[0] == urls[1]
    await both[closed].close()
    await both[1 - closed].get_database().now()
    await both[1 - closed].close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(urls[0], connect_timeout=5)
