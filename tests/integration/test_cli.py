"""The command line as a user types it: real processes, exit codes, JSON, one line per error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import commands
import psycopg
import pytest
from commands import Command
from logins import login, url_as
from replicas import Replicas
from waiting import eventually


def add(command: Command, job_id: str = "j", *words: str, **options: Any) -> Any:
    return command("jobs", "add", job_id, "--callback", "apps.idle:work", *(words or ("--every", "3600")), **options)


def test_jobs_are_added_shown_changed_and_removed(command: Command, sql: psycopg.Connection[Any]) -> None:
    add(command, "j", "--every", "3600", "--policy", "max_retries=7", "--policy", 'tags=["a"]')
    (job,) = json.loads(command("jobs", "list", "--json").stdout)
    assert (job["job_id"], job["schedule_value"], job["enabled"]) == ("j", 3600, True)
    assert json.loads(command("jobs", "show", "j", "--json").stdout)["tags"] == ["a"]
    assert "j" in command("jobs", "list").stdout
    command("jobs", "pause", "j", "--note", "why")
    assert json.loads(command("jobs", "show", "j", "--json").stdout)["pause_note"] == "why"
    command("jobs", "resume", "j")
    run = json.loads(command("jobs", "trigger", "j", "--json").stdout)
    assert json.loads(command("runs", "show", run["run_id"], "--json").stdout)["status"] == "pending"
    (listed,) = json.loads(command("runs", "list", "--job", "j", "--json").stdout)
    assert listed["run_id"] == run["run_id"]
    command("runs", "list")
    command("jobs", "remove", "j")
    assert json.loads(command("jobs", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--every", "0"), "schedule_value"),
        (("--every", "-5"), "schedule_value"),
        (("--every", "nan"), "schedule_value"),
        (("--daily", "25:61"), "25:61"),
        (("--cron", "0 0 31 2 *"), "0 0 31 2 *"),
        (("--cron", "every day"), "every day"),
        (("--every", "5", "--timezone", "Mars/Olympus"), "Mars/Olympus"),
        (("--every", "5", "--daily", "10:00"), "exactly one"),
        (("--every", "5", "--policy", "max_retriess=2"), "max_retries"),
        (("--every", "5", "--policy", "overlap=sometimes"), "overlap"),
    ],
)
def test_a_wrong_definition_is_one_line_and_stores_nothing(
    command: Command, sql: psycopg.Connection[Any], words: tuple[str, ...], says: str
) -> None:
    done = add(command, "j", *words, code=2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"database_url": "postgresql://u:hidden@127.0.0.1:1/d"}, 3, "can't be reached"),
        ({"database_url": "mysql://u:hidden@h/d"}, 2, "PostgreSQL"),
        ({"redis_url": "redis://:hidden@127.0.0.1:1/0"}, 3, "Redis at 127.0.0.1:1"),
        ({"redis_url": "http://hidden"}, 2, "redis_url"),
        ({"timezone": "Mars/Olympus"}, 2, "Mars/Olympus"),
        ({"lease_ttl": "soon"}, 2, "lease_ttl"),
        ({"schema": "Not-A-Name"}, 2, "schema"),
    ],
)
def test_a_replica_that_can_not_start_says_why(
    command: Command, settings: dict[str, str], code: int, says: str
) -> None:
    done = command("run", "--app", "apps.idle", code=code, **settings)
    last = done.stderr.strip().splitlines()[-1]
    assert says in last
    assert "hidden" not in done.stderr


def test_a_wrong_password_a_missing_and_a_newer_schema_say_why(
    command: Command, environment: dict[str, str], sql: psycopg.Connection[Any]
) -> None:
    wrong = environment["SCHEDULER_DATABASE_URL"].replace("postgres:", "postgres:wrong")
    assert "refused the login" in command("jobs", "list", code=3, database_url=wrong).stderr
    redis = environment["SCHEDULER_REDIS_URL"].replace("redis://:", "redis://:wrong")
    assert "refused the login" in command("run", "--app", "apps.idle", code=3, redis_url=redis).stderr
    assert "scheduler migrate" in command("jobs", "list", code=1, schema="not_there").stderr
    assert "scheduler migrate" in command("migrate", "--check", code=1, schema="not_there").stderr
    sql.execute("UPDATE scheduler.alembic_version SET version_num = '9999'")
    assert "newer" in command("run", "--app", "apps.idle", code=1).stderr


def test_a_read_only_database_says_so(command: Command, sql: psycopg.Connection[Any]) -> None:
    sql.execute(f'ALTER DATABASE "{sql.info.dbname}" SET default_transaction_read_only = on')
    done = command("run", "--app", "apps.idle", code=3)
    assert "read-only" in done.stderr


@pytest.mark.parametrize("app", ["nothing.here", "apps.broken"])
def test_an_app_that_can_not_be_imported_says_why(command: Command, app: str) -> None:
    assert app in command("run", "--app", app, code=1).stderr


def test_migrate_checks_and_prints(command: Command) -> None:
    command("migrate")
    command("migrate", "--check")
    assert "CREATE TABLE jobs" in command("migrate", "--sql").stdout


def test_next_needs_no_server_for_a_spec(command: Command) -> None:
    nowhere = {"database_url": "postgresql://u:p@127.0.0.1:1/d"}
    rows = json.loads(command("next", "30 2 * * 1-5", "--count", "5", "--timezone", "UTC", "--json", **nowhere).stdout)
    assert len(rows) == 5
    assert all(row["utc"].endswith("02:30:00+00:00") for row in rows)
    assert len(json.loads(command("next", "14:30", "-c", "2", "--json", **nowhere).stdout)) == 2
    assert "0 0 31 2 *" in command("next", "0 0 31 2 *", code=2, **nowhere).stderr


def test_next_of_a_job_and_of_nothing(command: Command) -> None:
    add(command)
    assert len(json.loads(command("next", "j", "--count", "3", "--json").stdout)) == 3
    assert "neither" in command("next", "nothing", code=1).stderr


def test_wrong_usage_is_two(command: Command) -> None:
    command("jobs", "frobnicate", code=2)
    command("runs", "show", "not-a-uuid", code=2)
    command("run", code=2)
    command("dev", "--for", "-1", code=2)


def test_what_is_not_there_is_one(command: Command) -> None:
    for verb in ("show", "pause", "resume", "trigger", "remove"):
        assert "nothing" in command("jobs", verb, "nothing", code=1).stderr
    command("runs", "show", "00000000-0000-0000-0000-000000000000", code=1)
    command("leader", "status", code=1)


def test_the_leader_is_shown_and_can_be_asked_to_resign(
    command: Command, environment: dict[str, str], tmp_path: Path, sql: psycopg.Connection[Any]
) -> None:
    replicas = Replicas(environment, "apps.idle", tmp_path)
    try:
        replicas.start(2)
        replicas.wait_for(sql, 2)
        status = json.loads(command("leader", "status", "--json").stdout)
        assert set(status) >= {"term", "instance_id", "host", "pid", "acquired_at", "lease_expires_in", "replicas"}
        assert {replica["role"] for replica in status["replicas"]} == {"leader", "follower"}
        assert 0 < status["lease_expires_in"] <= 3
        command("doctor")
        assert json.loads(command("doctor", "--json").stdout)["findings"] == []
        command("leader", "resign")
        # By SQL: in the moment in which nobody leads, the command says so, and ends with 1.
        later = "SELECT FROM scheduler.leader WHERE term > %s AND nonce IS NOT NULL"
        eventually(lambda: sql.execute(later, [status["term"]]).fetchone() is not None)
        now = json.loads(command("leader", "status", "--json").stdout)
        assert now["instance_id"] != status["instance_id"], "river #1213, re-elects itself after resigning"
        history = json.loads(command("leader", "history", "--json").stdout)
        assert history[-1]["end_reason"] == "asked to"
    finally:
        replicas.stop()


def test_the_doctor_says_when_somebody_s_tables_land_in_our_schema(
    command: Command, sql: psycopg.Connection[Any]
) -> None:
    """`"$user"` stands first in search_path: a role of the schema's name."""
    with login(sql, "named") as role:
        schema = f"s_{sql.info.dbname}"
        sql.execute(f"ALTER ROLE {role} SET search_path TO {schema}, public")
        sql.execute(f"GRANT CREATE ON DATABASE {sql.info.dbname} TO {role}")
        command("migrate", database_url=url_as(sql, role), schema=schema)
        found = json.loads(command("doctor", "--json", code=1, database_url=url_as(sql, role), schema=schema).stdout)
        assert [finding["subject"] for finding in found["findings"] if finding["kind"] == "search path"] == [schema]


def test_the_doctor_finds_what_needs_a_person(command: Command, sql: psycopg.Connection[Any]) -> None:
    add(command)
    sql.execute("UPDATE scheduler.jobs SET due_at = now() - interval '1 hour', timezone = 'Mars/Olympus'")
    report = json.loads(command("doctor", "--json", code=1).stdout)
    assert {finding["kind"] for finding in report["findings"]} == {"overdue", "unreadable"}


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"SCHEDULER_TIMEZONE": "Asia/Seoul", "TZ": "UTC+3"}, "Asia/Seoul, by the setting timezone"),
        ({"TZ": "Asia/Tokyo"}, "Asia/Tokyo, by TZ='Asia/Tokyo'"),
        ({"TZ": "EST5EDT,M3.2.0,M11.1.0"}, "unknown"),
    ],
)
def test_the_doctor_says_which_zone_it_is_and_from_where(
    environment: dict[str, str], tmp_path: Path, given: dict[str, str], fact: str
) -> None:
    without = {name: value for name, value in environment.items() if name != "SCHEDULER_TIMEZONE"}
    done = commands.as_text(commands.scheduler("doctor", "--json", environment=without | given, folder=tmp_path))
    report = json.loads(done.stdout)
    assert report["facts"]["default timezone"] == fact
    assert "the package tzdata" in report["facts"]["time zone data"]
    kinds = [finding["kind"] for finding in report["findings"]]
    assert ("timezone" in kinds, done.returncode) == ((True, 1) if fact == "unknown" else (False, 0))
    if fact == "unknown":
        words = ("jobs", "add", "j", "--callback", "app:f", "--daily", "09:00")
        refused = commands.as_text(commands.scheduler(*words, environment=without | given, folder=tmp_path))
        assert refused.returncode == 2
        assert "name a place that keeps them, as 'America/New_York'" in refused.stderr
        named = (*words, "--timezone", "Asia/Tokyo")
        assert commands.scheduler(*named, environment=without | given, folder=tmp_path).returncode == 0
