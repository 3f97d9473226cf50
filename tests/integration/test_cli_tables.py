"""`scheduler tables`: what is there, what would run, and that what is printed is what runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
from commands import Command
from replicas import Replicas
from waiting import eventually

from scheduler_core.storage.postgres import migrate

Sql = psycopg.Connection[Any]
APP = ("--app", "apps.with_tables")


def listed(command: Command, *words: str, code: int = 0) -> dict[str, Any]:
    rows = json.loads(command("tables", "list", "--json", *words, code=code).stdout)
    return {row["family"]: row for row in rows}


def play(sql: Sql, script: str) -> None:
    """As psql would, statement by statement."""
    for statement in script.strip().removesuffix(";").split(";\n"):
        sql.execute(statement)  # type: ignore[arg-type]


def test_what_is_there_and_what_comes_next(command: Command, sql: Sql, database_url: str) -> None:
    sql.execute("DROP SCHEMA scheduler, scheduler_audit CASCADE")
    migrate.upgrade(database_url)
    assert "runs_" in command("tables", "create", "--dry-run").stdout, "nothing was ever created here"
    assert listed(command) == {}
    command("tables", "create")
    rows = listed(command)
    assert set(rows) == {"runs", "attempts"}
    assert (rows["runs"]["schema_name"], rows["runs"]["days_left"], rows["runs"]["tables"]) == ("scheduler", 3, 5)
    assert "runs" in command("tables", "list").stdout
    assert command("tables", "create", "--dry-run").stdout == "-- nothing to do\n"


def test_a_dry_run_prints_what_psql_takes_and_changes_nothing(command: Command, sql: Sql) -> None:
    """Every family of the app, to the last statement: after it there is nothing left to do."""
    assert listed(command, *APP, code=1)["visits"]["days_left"] is None
    doctor = json.loads(command("doctor", "--json", *APP, code=1).stdout)
    assert "no table was ever created" in {t["subject"]: t["detail"] for t in doctor["findings"]}["public.visits"]
    script = command("tables", "create", "--dry-run", *APP).stdout
    assert sql.execute("SELECT to_regclass('public.orders')").fetchone() == (None,)
    play(sql, script)
    # What is summed up, is summed up from what is there now.
    play(sql, command("tables", "create", "--dry-run", *APP).stdout)
    assert command("tables", "create", *APP).stdout.splitlines()[0].startswith("visits_summary_")
    sql.execute("CREATE TABLE public.visits_20200101 (page text)")
    sql.execute(
        "CREATE TABLE public.orders_20200101 PARTITION OF public.orders "
        "FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00')"
    )
    script = command("tables", "cleanup", "--dry-run", *APP).stdout
    assert script.index("DETACH PARTITION") < script.index('DROP TABLE "public"."orders_20200101"')
    assert script.index("visits_summary_202001") < script.index('DROP TABLE "public"."visits_20200101"')
    play(sql, script)
    assert command("tables", "cleanup", *APP).stdout == ""


def test_create_and_cleanup_do_it(command: Command, sql: Sql) -> None:
    created = command("tables", "create", *APP).stdout
    assert created.count("visits_") == 5, "four days and a month"
    assert created.count("orders_") == 4
    sql.execute("CREATE TABLE public.visits_20200101 (page text)")
    assert "visits_20200101 dropped" in command("tables", "cleanup", *APP).stdout


def test_what_runs_short_is_bad_news_to_list_and_doctor(command: Command, sql: Sql) -> None:
    """Also for a family that this process has never heard of, and without a scheduler that lives."""
    command("tables", "create", *APP)
    assert listed(command)["visits"]["is_short"] is False
    name = listed(command)["visits"]["last_table"]
    sql.execute(f"DROP TABLE public.{name}")
    assert listed(command)["visits"]["days_left"] == 2
    name = listed(command)["visits"]["last_table"]
    sql.execute(f"DROP TABLE public.{name}")
    assert listed(command, code=1)["visits"]["is_short"] is True
    findings = json.loads(command("doctor", "--json", code=1).stdout)["findings"]
    (finding,) = [t for t in findings if t["kind"] == "tables"]
    assert finding["subject"] == "public.visits"
    assert "1 more day" in finding["detail"]
    command("tables", "forget", "visits")
    assert "visits" not in listed(command)
    assert "scheduler tables list" in command("tables", "forget", "visits", code=2).stderr


def test_a_conflict_is_one_line(command: Command, sql: Sql) -> None:
    sql.execute("CREATE VIEW public.orders AS SELECT 1 AS n")
    for words in (("create",), ("create", "--dry-run")):
        done = command("tables", *words, *APP, code=1)
        assert "public.orders exists and is a view" in done.stderr.splitlines()[-1]
    assert listed(command, code=1)["visits"]["is_short"] is False, "the others have theirs"


def test_the_jobs_of_a_replica_create_them(environment: dict[str, str], sql: Sql, tmp_path: Path) -> None:
    """The static methods are callbacks as they are, by name, in real replicas."""
    replicas = Replicas(environment, "apps.with_tables", tmp_path)
    try:
        replicas.start(2)
        replicas.wait_for(sql, 2)
        succeeded = "SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'"
        eventually(lambda: sql.execute(succeeded).fetchone()[0] > 1, what="runs")  # type: ignore[index]
    finally:
        replicas.stop()
    assert sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = 'failed'").fetchone() == (0,)
    short = sql.execute("SELECT family FROM scheduler_audit.table_families WHERE is_short").fetchall()
    assert short == []
    assert sql.execute("SELECT count(*) FROM scheduler_audit.table_families").fetchone() == (4,)
