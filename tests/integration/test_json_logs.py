"""Each line of a JSON log says which run it belongs to, whoever wrote it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from replicas import Replicas
from waiting import eventually, eventually_async

from scheduler_core import Container, RunLogFilter, ScheduleJob

Sql = psycopg.Connection[Any]


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.talking", tmp_path)
    yield made
    made.stop()


def lines(folder: Path) -> list[dict[str, Any]]:
    """Every line, each of which must be a document."""
    text = (folder / "replica-0.log").read_text(encoding="utf-8")
    # The last may be half written.
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_a_json_line_says_which_run_and_which_term(replicas: Replicas, sql: Sql, tmp_path: Path) -> None:
    replicas.start(SCHEDULER_LOG_FORMAT="json", SCHEDULER_LEASE_TTL="1")
    replicas.wait_for(sql, 1)

    def said(event: str) -> list[dict[str, Any]]:
        return [line for line in lines(tmp_path) if line["event"] == event]

    for event, job_id in (("from the loop", "in_loop"), ("from a thread", "in_thread")):
        line = eventually(lambda event=event: said(event), what=event)[0]
        assert line["job_id"] == job_id
        assert (line["term"], line["attempt"], line["level"], line["logger"]) == (1, 1, "warning", "somebody.elses")
        row = sql.execute(
            "SELECT job_id, scheduled_for, instance_id FROM scheduler.runs WHERE run_id = %s", [line["run_id"]]
        ).fetchone()
        assert row is not None
        assert (row[0], row[2]) == (job_id, line["instance_id"])
        assert row[1] == datetime.fromisoformat(line["scheduled_for"])

    attempts = eventually(lambda: [e for e in lines(tmp_path) if "says" in e["event"]][:2], what="the attempts' lines")
    second = eventually(lambda: [e for e in lines(tmp_path) if e.get("attempt") == 2], what="the second attempt")[0]
    assert attempts[0]["attempt"] == 1
    assert attempts[0]["run_id"] == second["run_id"]
    (failure,) = said("on purpose")
    assert failure["shoe_size"] == 43
    assert "ValueError: the first attempt fails" in failure["exception"]
    assert "trace_id" not in failure, "nobody traces here"
    taking_part = eventually(lambda: [line for line in lines(tmp_path) if "takes part" in line["event"]])[0]
    assert "run_id" not in taking_part, "it belongs to no run"
    assert taking_part["instance_id"] == failure["instance_id"]


async def work() -> None:
    logging.getLogger("anybody").warning("said inside")


async def test_a_service_with_a_log_of_its_own_adds_a_filter(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(RunLogFilter())
    await container.start([ScheduleJob("j", "J", "once", None, work)])

    def inside() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.message == "said inside"]

    await eventually_async(inside)
    (record,) = inside()
    assert (record.job_id, record.attempt, record.term) == ("j", 1, 1)  # type: ignore[attr-defined]
    logging.getLogger("anybody").warning("said outside")
    assert caplog.records[-1].run_id is None  # type: ignore[attr-defined]
