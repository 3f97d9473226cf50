"""/metrics by a real scrape of a real replica, read by the parsers of Prometheus' own client."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics_parser
from replicas import Replicas, witnessed
from waiting import eventually, eventually_async

from scheduler_core import Container, ScheduleJob
from scheduler_core.container import Container as AnyContainer
from scheduler_core.web.health.metrics import registry_of
from scheduler_core.web.state import WebState

Sql = psycopg.Connection[Any]

BASE_UNITS = ("seconds", "bytes")
OTHER_UNITS = ("milliseconds", "ms", "minutes", "hours", "kilobytes", "megabytes", "percent")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.failing_now_and_then", tmp_path)
    yield made
    made.stop()


def scrape(port: int, accept: str = "") -> dict[str, Metric]:
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept} if accept else {}, timeout=10)
    assert answer.status_code == 200, answer.text
    if "openmetrics" in answer.headers["content-type"]:
        families = openmetrics_parser.text_string_to_metric_families(answer.text)
    else:
        families = parser.text_string_to_metric_families(answer.text)
    return {family.name: family for family in families}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert found, f"{name} {labels} is not there"
    return sum(found)


def served(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_scrape_tells_what_a_replica_did(replicas: Replicas, sql: Sql, tmp_path: Path) -> None:
    port = free_port()
    replicas.start(SCHEDULER_METRICS_PORT=str(port))
    replicas.wait_for(sql, 1)
    eventually(lambda: served(port), what="metrics are served")

    def enough() -> dict[str, Metric] | None:
        families = scrape(port)
        failed = value(families, "scheduler_runs_total", status="failed")
        blocked = value(families, "scheduler_loop_blocked_seconds_total")
        leads = value(families, "scheduler_leading_term") == value(families, "scheduler_db_term") > 0
        # What is counted while a scrape is put together may be in one family and not yet in the other.
        ended = value(families, "scheduler_runs_total", origin="schedule", reason="")
        agreed = {
            ended,
            value(families, "scheduler_run_lateness_seconds_count"),
            value(families, "scheduler_run_duration_seconds_bucket", le="+Inf"),
        }
        return families if failed >= 2 and blocked > 0.1 and leads and agreed == {ended} else None

    families = eventually(enough, what="runs that failed, a loop that was held up")
    assert families is not None
    assert value(families, "scheduler_runs_total", status="succeeded") >= 2
    assert value(families, "scheduler_attempts_total", outcome="failed") >= 4, "two attempts for each run that failed"
    assert value(families, "scheduler_leading") == 1
    assert value(families, "scheduler_election_state", state="leading") == 1
    assert value(families, "scheduler_ready") == 1
    assert value(families, "scheduler_db_up") == value(families, "scheduler_db_led") == 1
    assert value(families, "scheduler_db_jobs", state="active") == 3
    assert value(families, "scheduler_leaderships_total") >= 1
    assert abs(value(families, "scheduler_clock_skew_seconds")) < 1
    assert value(families, "process_resident_memory_bytes") > 1e6
    rows = sql.execute("SELECT count(*) FROM scheduler.runs WHERE status = 'failed'").fetchone()
    assert rows is not None
    assert rows[0] >= value(families, "scheduler_runs_total", status="failed") >= 2

    check_conventions(scrape(port, "application/openmetrics-text; version=1.0.0"))
    promtool = shutil.which("promtool")
    if promtool is not None:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        ours = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("scheduler_")]
        assert ours == []


def check_conventions(families: dict[str, Metric]) -> None:
    """https://prometheus.io/docs/practices/naming: a prefix, base units last, `_total` for counters alone, a help."""
    ours = [family for family in families.values() if family.name.startswith("scheduler_")]
    assert len(ours) > 30
    for family in ours:
        assert re.fullmatch(r"scheduler(_[a-z]+)+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info")), family.name
        assert not set(OTHER_UNITS) & set(family.name.split("_")), family.name
        if set(BASE_UNITS) & set(family.name.split("_")):
            assert family.name.endswith(BASE_UNITS), "the unit stands last"
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            assert not {"job", "instance", "job_id", "run_id"} & set(sample.labels), "Prometheus' own, or without bound"


def test_a_stopped_replica_is_alive_to_the_last_and_ready_no_more(replicas: Replicas, sql: Sql) -> None:
    port = free_port()
    replicas.app = "apps.lasting"
    process = replicas.start(SCHEDULER_METRICS_PORT=str(port), SCHEDULER_LEASE_TTL="1")[0]
    replicas.wait_for(sql, 1)
    eventually(lambda: served(port), what="metrics are served")
    ready = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
    assert (ready.status_code, ready.text) == (200, "ok\n")
    assert httpx.get(f"http://127.0.0.1:{port}/api/v1/jobs", timeout=5).status_code == 404, "nothing else is served"
    eventually(lambda: witnessed(replicas.environment) == ["lasting"], what="the lasting run has begun")
    process.terminate()
    eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 503, what="not ready")
    assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).text == "stopping\n"
    assert httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5).status_code == 200, "its work is being drained"
    Path(f"{replicas.environment['WITNESS_FILE']}.release").touch()
    assert process.wait(30) == 0


async def work() -> None: ...


def series(container: AnyContainer) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in registry_of(WebState(container)).collect()
        for sample in family.samples
    }


async def test_series_do_not_depend_on_jobs(container: Container, sql: Sql) -> None:
    await container.start([ScheduleJob("first", "J", "interval", 0.1, work)])
    scheduler = container.get_scheduler()
    await eventually_async(lambda: scheduler.counters.ended["succeeded", "schedule", ""] >= 1)
    before = series(container)
    await scheduler.add_jobs([ScheduleJob(f"j{n}", "J", "interval", 0.1, work) for n in range(100)])

    def all_ran() -> bool:
        row = sql.execute("SELECT count(DISTINCT job_id) FROM scheduler.runs WHERE status = 'succeeded'").fetchone()
        return row is not None and row[0] == 101

    await eventually_async(all_ran)
    assert series(container) == before
    assert len(before) < 250


async def test_metrics_on_the_port_of_the_api_want_a_viewer(
    container: Container, anybody: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    refused = await anybody.get("/metrics")
    assert refused.status_code == 401
    assert "scheduler_" not in refused.text
    answer = await viewer.get("/metrics")
    assert answer.status_code == 200
    assert "scheduler_db_up 1.0" in answer.text
    assert "scheduler_leading" not in answer.text, "a process that only serves is no replica"
    for path in ("/livez", "/readyz"):
        assert (await anybody.get(path)).text == "ok\n"


async def test_a_postgres_that_does_not_answer_takes_only_its_own_metrics_along(redis_url: str) -> None:
    from scheduler_core import load_settings
    from scheduler_core.web.health.metrics import metrics_app

    nobody = f"postgresql://u:secret-word@127.0.0.1:{free_port()}/nothing"
    container = Container(load_settings(database_url=nobody, redis_url=redis_url))
    try:
        transport = httpx.ASGITransport(metrics_app(container))
        async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as client:
            answer = await client.get("/metrics")
            assert answer.status_code == 200
            assert "scheduler_db_up 0.0" in answer.text
            assert "scheduler_db_term" not in answer.text
            assert (await client.get("/livez")).status_code == 200
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert "secret-word" not in answer.text + ready.text
            assert "127.0.0.1" not in ready.text
    finally:
        await container.close()


async def test_what_stands_still_is_seen_by_any_replica(container: Container, sql: Sql) -> None:
    """sidekiq #3163 (dead for four days, unnoticed)."""
    await container.start([ScheduleJob("far", "J", "once", "2099-01-01T00:00:00", work)])
    await container.stop()
    sql.execute("UPDATE scheduler.jobs SET due_at = now() - interval '70 s'")
    situation = await container.get_observations().situation(overdue_seconds=10)
    assert situation.overdue_jobs == 1
    assert 70 <= situation.most_overdue_seconds < 100
    assert not situation.is_led
    assert situation.replicas == 0
    assert situation.history_ahead_seconds is not None
    assert situation.history_ahead_seconds > 2 * 86_400
    census = await container.get_observations().census()
    assert census["active"] == 1
    assert sum(census.values()) == 1
