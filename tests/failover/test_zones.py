"""Replicas whose zone data differ: a job waits for a leader that knows its zone, visibly, and leadership goes there."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from apps.in_a_zone import ZONE
from commands import Command
from replicas import Replicas, witnessed
from test_kill import TWICE
from waiting import eventually

SUCCEEDED = "SELECT count(*) FROM scheduler.runs WHERE job_id = %s AND status = 'succeeded'"
REASONS = "SELECT end_reason FROM scheduler.leader_terms"
LEADS = """
SELECT i.pid FROM scheduler.leader l JOIN scheduler.instances i USING (instance_id)
WHERE l.nonce IS NOT NULL AND scheduler.witness_held(i.life_key)
"""


@pytest.fixture
def older(tmp_path: Path) -> dict[str, str]:
    """The environment of a host without zones of its own, whose package tzdata is older."""
    folder = tmp_path / "older"
    shutil.copytree(str(files("tzdata")), folder / "tzdata", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tzdata" / "zoneinfo" / ZONE).unlink()
    zi = folder / "tzdata" / "zoneinfo" / "tzdata.zi"
    zi.write_text(zi.read_text(encoding="utf-8").replace("# version 20", "# version 2019c was 20", 1), encoding="utf-8")
    return {"PYTHONPATH": f"{folder}{os.pathsep}", "PYTHONTZPATH": ""}


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    settings = {"SCHEDULER_LEASE_TTL": "1", "SCHEDULER_ALARM_INTERVAL": "0.5", "SCHEDULER_OVERDUE_AFTER": "2"}
    made = Replicas(environment | settings, "apps.in_a_zone", tmp_path, starts_anew=True)
    yield made
    made.stop()


def count(sql: psycopg.Connection[Any], statement: str, *arguments: object) -> int:
    row = sql.execute(statement, arguments).fetchone()
    assert row is not None
    return int(row[0])


def fires(sql: psycopg.Connection[Any], job_id: str) -> None:
    before = count(sql, SUCCEEDED, job_id)
    eventually(lambda: count(sql, SUCCEEDED, job_id) > before, what=f"{job_id} fires")


def test_a_leader_that_lacks_a_jobs_zone_hands_over_to_one_that_knows_it(
    replicas: Replicas, older: dict[str, str], sql: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """As with a missing callback; the other way round nobody hands anything over."""
    older["PYTHONPATH"] += replicas.environment["PYTHONPATH"]
    [old] = replicas.start(1, **older)
    replicas.wait_for(sql, 1)
    fires(sql, "tick")
    [new] = replicas.start(1, IN_ZONE="1")
    replicas.wait_for(sql, 2)
    fires(sql, "in_zone")
    fires(sql, "in_zone")
    assert ("handed over for a time zone",) in sql.execute(REASONS).fetchall()
    assert sql.execute(LEADS).fetchone() == (new.pid,)
    releases = sql.execute("SELECT count(DISTINCT zone_release) FROM scheduler.instances WHERE ended_at IS NULL")
    assert releases.fetchone() == (2,)
    assert {line.split()[1] for line in witnessed(replicas.environment)} == {str(new.pid)}
    assert "a replica whose zone data have it can take over" in (tmp_path / "replica-0.log").read_text()
    fires(sql, "tick")
    assert old.poll() is None
    replicas.stop()
    assert sql.execute(TWICE).fetchall() == []


def test_without_a_replica_that_knows_it_everybody_is_told(
    replicas: Replicas, older: dict[str, str], sql: psycopg.Connection[Any], command: Command
) -> None:
    older["PYTHONPATH"] += replicas.environment["PYTHONPATH"]
    [new] = replicas.start(1, IN_ZONE="1")
    replicas.wait_for(sql, 1)
    fires(sql, "in_zone")
    replicas.start(1, **older)
    replicas.wait_for(sql, 2)
    fires(sql, "in_zone")
    doctor = json.loads(command("doctor", "--json", code=1).stdout)
    (different,) = [t for t in doctor["findings"] if t["kind"] == "zone data"]
    assert "goes by release 2019c of the time zone data" in different["detail"]
    assert not [t for t in doctor["findings"] if t["kind"] == "no timezone"]

    new.send_signal(signal.SIGKILL)
    eventually(lambda: sql.execute(LEADS).fetchone() not in (None, (new.pid,)), what="the older one leads")
    fires(sql, "tick")
    waits = "SELECT detail FROM scheduler.alarms WHERE job_id = 'in_zone' AND kind = 'overdue' AND closed_at IS NULL"
    detail = eventually(lambda: sql.execute(waits).fetchone(), what="an alarm")
    assert detail == (f"the leader does not know its time zone {ZONE!r}",)
    findings = json.loads(command("doctor", "--json", code=1).stdout)["findings"]
    (lacking,) = [t for t in findings if t["kind"] == "no timezone"]
    assert (lacking["subject"], ZONE in lacking["detail"]) == ("in_zone", True)
    assert "nor in those of any replica that lives" in lacking["detail"]
    told = json.loads(command("explain", "in_zone", "--json").stdout)["sentences"][0]
    assert told.startswith(f"It does not fire: the leader's zone data lack its time zone '{ZONE}'.")
    # A run that an operator asks for waits as well, and is not taken for one of a job that was removed.
    command("jobs", "trigger", "in_zone")
    waiting = "SELECT status, reason FROM scheduler.runs WHERE job_id = 'in_zone' AND origin = 'trigger'"
    eventually(lambda: sql.execute(waiting).fetchone() == ("pending", "no_timezone"), what="the run waits")
    run = json.loads(command("explain", "in_zone", "--json").stdout)["runs"][0]
    assert f"waits for a leader whose time zone data have the zone '{ZONE}'" in run["sentence"]

    replicas.start(1, IN_ZONE="1")
    eventually(lambda: sql.execute(waiting).fetchone()[0] == "succeeded", what="it runs")  # type: ignore[index]
    fires(sql, "in_zone")
    eventually(lambda: sql.execute(waits).fetchone() is None, what="the alarm closes")
    replicas.stop()
    assert sql.execute(TWICE).fetchall() == []
    seconds = "SELECT scheduled_for FROM scheduler.runs WHERE job_id = 'in_zone' AND origin = 'schedule' ORDER BY 1"
    covered = [row[0].replace(microsecond=0) for row in sql.execute(seconds).fetchall()]
    steps = {(after - before).total_seconds() for before, after in pairwise(covered)}
    assert steps == {1.0}, "nothing is lost of what waited: misfire is all"


def test_a_zone_that_nobody_knows_moves_nobody(replicas: Replicas, sql: psycopg.Connection[Any]) -> None:
    replicas.start(2, IN_ZONE="1")
    replicas.wait_for(sql, 2)
    fires(sql, "in_zone")
    sql.execute("UPDATE scheduler.jobs SET timezone = 'Mars/Olympus' WHERE job_id = 'in_zone'")
    for _ in range(15):
        fires(sql, "tick")
    moved = "SELECT count(*) FROM scheduler_audit.leadership WHERE end_reason LIKE 'handed over%'"
    assert sql.execute(moved).fetchone() == (0,)
    sql.execute("UPDATE scheduler.jobs SET timezone = 'UTC' WHERE job_id = 'in_zone'")
    fires(sql, "in_zone")
