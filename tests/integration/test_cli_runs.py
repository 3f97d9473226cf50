"""The verbs on runs and the answers, as a user types them: exit codes, JSON, one line per error."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from commands import Command
from replicas import Replicas
from waiting import eventually


def add(command: Command, *words: str) -> None:
    command("jobs", "add", "j", "--callback", "apps.idle:work", *words)


def hour_before(hours: int) -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)


def test_backfill_previews_makes_and_refuses(command: Command, sql: psycopg.Connection[Any]) -> None:
    add(command, "--cron", "0 * * * *", "--timezone", "UTC")
    span = ("--from", hour_before(40).isoformat(), "--until", hour_before(1).isoformat())
    preview = json.loads(command("jobs", "backfill", "j", *span, "--dry-run", "--json").stdout)
    assert (preview["occurrences"], preview["made"], preview["existing"]) == (40, 40, [])
    assert preview["first"] == hour_before(40).isoformat()
    assert preview["last"] == hour_before(1).isoformat()
    assert sql.execute("SELECT count(*) FROM scheduler.runs").fetchone() == (0,)
    told = command("jobs", "backfill", "j", *span, "--dry-run").stdout
    assert "40 runs would be made, 0 were there" in told
    assert "30 more" in told
    made = json.loads(command("jobs", "backfill", "j", *span, "--json").stdout)
    assert made["to_make"] == preview["to_make"]
    assert sql.execute("SELECT count(*) FROM scheduler.runs WHERE origin = 'backfill'").fetchone() == (40,)
    again = json.loads(command("jobs", "backfill", "j", *span, "--json").stdout)
    assert (again["made"], len(again["existing"])) == (0, 40)
    assert {row["status"] for row in again["existing"]} == {"pending"}
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for words, says in [
        (("j", "--from", span[1], "--until", later), "future"),
        (("j", "--from", "2001-01-01", "--until", "2001-01-02"), "history_days"),
        (("j", "--from", "yesterday", "--until", later), "yesterday"),
        (("j", *span, "--limit", "39"), "more than the 39 allowed"),
    ]:
        done = command("jobs", "backfill", *words, code=2)
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert "nothing" in command("jobs", "backfill", "nothing", *span, code=1).stderr
    early = ("--from", hour_before(3).isoformat(), "--until", (hour_before(3)).isoformat())
    sql.execute("DELETE FROM scheduler.runs")
    add(command, "--every", "3600")
    assert "no occurrence" in command("jobs", "backfill", "j", *early).stdout


def test_a_run_is_cancelled_and_run_again(command: Command, environment: dict[str, str], tmp_path: Path) -> None:
    add(command, "--every", "3600")
    run_id = json.loads(command("jobs", "trigger", "j", "--json").stdout)["run_id"]
    assert "only a run that has ended" in command("runs", "retry", run_id, code=1).stderr
    done = json.loads(command("runs", "cancel", run_id, "--json").stdout)
    assert (done["run_id"], done["status"], done["had_begun"]) == (run_id, "cancelled", False)
    assert "is cancelled" in command("runs", "cancel", run_id).stdout, "harmless"
    shown = json.loads(command("runs", "show", run_id, "--json").stdout)
    assert (shown["status"], shown["reason"]) == ("cancelled", "requested")
    assert shown["cancel_requested_by"]
    new = json.loads(command("runs", "retry", run_id, "--json").stdout)
    assert (new["job_id"], new["rerun_of"]) == ("j", run_id)
    replicas = Replicas(environment, "apps.idle", tmp_path)
    try:
        replicas.start()
        eventually(lambda: json.loads(command("runs", "list", "--status", "succeeded", "--json").stdout))
    finally:
        replicas.stop()
    shown = json.loads(command("runs", "show", new["run_id"], "--json").stdout)
    assert (shown["origin"], shown["rerun_of"], shown["status"]) == ("rerun", run_id, "succeeded")
    assert "has ended already, as succeeded" in command("runs", "cancel", new["run_id"], code=1).stderr
    command("runs", "rerun", new["run_id"])
    for verb in ("cancel", "retry"):
        assert "there is no run" in command("runs", verb, str(uuid4()), code=1).stderr
        command("runs", verb, "not-a-uuid", code=2)


def test_a_thread_that_executes_is_asked_to_end(
    command: Command, environment: dict[str, str], tmp_path: Path, sql: psycopg.Connection[Any]
) -> None:
    replicas = Replicas(environment, "apps.deadly", tmp_path)
    try:
        replicas.start()
        find = "SELECT run_id FROM scheduler_audit.runs WHERE job_id = 'lingers' AND status = 'running'"
        (run_id,) = eventually(lambda: sql.execute(find).fetchone())  # type: ignore[misc]
        told = command("runs", "cancel", str(run_id), "--wait", "0.1").stdout
        assert "asked to end and executes still" in told
        assert "it was asked to end by" in command("explain", "lingers").stdout
        for process in replicas.processes:
            process.kill()
    finally:
        replicas.stop()


def test_explain_tells_people_and_programs(command: Command) -> None:
    add(command, "--daily", "14:30", "--timezone", "Europe/Berlin")
    told = command("explain", "j").stdout
    assert "j: at 14:30 every day, in Europe/Berlin" in told
    assert "It fires next at" in told
    assert "no replica lives" in told
    until = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
    command("jobs", "pause", "j", "--note", "[bold]why[/bold]", "--until", until)
    assert "[bold]why[/bold]" in command("explain", "j").stdout
    document = json.loads(command("explain", "j", "--json").stdout)
    assert (document["known"], document["will_fire"], document["timezone"]) == (True, True, "Europe/Berlin")
    assert len(document["next"]) == 10
    assert set(document["next"][0]) == {"utc", "local", "left_out", "note"}
    command("jobs", "trigger", "j")
    (run,) = json.loads(command("explain", "j", "--json").stdout)["runs"]
    assert (run["status"], run["origin"]) == ("pending", "trigger")
    assert "waits for the leader to take it" in run["sentence"]
    assert "There is no job 'nothing'" in command("explain", "nothing", code=1).stdout
    assert json.loads(command("explain", "nothing", "--json", code=1).stdout)["known"] is False


def test_next_says_what_it_means_and_what_the_clocks_do(command: Command) -> None:
    told = command("next", "30 2 * * *", "--timezone", "Europe/Berlin", "--count", "400")
    assert told.stdout.startswith("at 02:30 every day, in Europe/Berlin")
    assert "02:30 does not exist on that day: the clocks go from 02:00 to 03:00" in told.stdout
    assert "02:30 exists twice on that day" in told.stdout
    rows = json.loads(command("next", "0 9-17 * * 1-5", "--timezone", "UTC", "--json").stdout)
    assert set(rows[0]) == {"utc", "local", "left_out", "note"}
