"""Anything at all, on real servers: what is stored comes back unchanged, what is refused leaves nothing behind."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import psycopg
import pytest
from fuzzing import TEXTS, definition
from psycopg.rows import dict_row

from scheduler_core import Container, ScheduleJob
from scheduler_core.cli.app import run
from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.job import JobDefinition

CLI_COMMANDS = int(os.environ.get("FUZZED_COMMANDS", "80"))


async def test_what_is_accepted_comes_back_from_the_database(container: Container) -> None:
    random = Random("stored")
    made: dict[str, JobDefinition] = {}
    while len(made) < 300:
        try:
            accepted = ScheduleJob(**definition(random)).definition("Europe/Berlin")
        except InvalidJobError:
            continue
        # Calendars and executors must exist; without them every accepted definition is stored.
        made[f"job-{len(made)}"] = replace(accepted, job_id=f"job-{len(made)}", calendars=(), executor="local")
    await container.prepare()
    await container.get_operations().declare(list(made.values()))
    loaded = await container.get_storage().jobs.load(list(made))
    assert {job.job_id: job.definition for job in loaded} == made  # type: ignore[union-attr]
    assert [job.job_id for job in loaded if job.digest != made[job.job_id].digest] == []  # type: ignore[union-attr]


def test_any_command_line_is_one_line_or_a_job(
    environment: dict[str, str],
    sql: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The console script's own way in, and out, within this process: a process of its own costs half a second."""
    for name, value in environment.items():
        if name.startswith("SCHEDULER_"):
            monkeypatch.setenv(name, value)
    random, seen = Random("command lines"), Counter[str]()
    for n in range(CLI_COMMANDS):
        words = command_line(random, f"job-{n}")
        monkeypatch.setattr(sys, "argv", ["scheduler", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        code = ended.value.code or 0
        stored = sql.execute("SELECT version FROM scheduler.jobs WHERE job_id = %s", [f"job-{n}"]).fetchall()
        seen[f"code {code}"] += 1
        assert code in (0, 2), (words, said.err)
        assert (len(stored) == 1) == (code == 0), words
        assert "Traceback" not in said.err
        if code == 2 and not said.err.startswith("Usage:"):
            assert len(said.err.splitlines()) == 1, (words, said.err)
            assert said.err.startswith("scheduler: ")
    assert min(seen["code 0"], seen["code 2"]) > CLI_COMMANDS / 10
    # Nothing half-stored: every row reads as the definition whose digest it holds, and no refused job left a trace.
    with sql.cursor(row_factory=dict_row) as rows:
        for row in rows.execute("SELECT * FROM scheduler.jobs"):
            assert JobDefinition.from_columns(row).digest == row["digest"]
    assert sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone() == (0,)


def command_line(random: Random, job_id: str) -> list[str]:
    """`jobs add` with fields of a definition that JSON can say, and some that only look like it."""
    while True:
        given = definition(random)
        kind, value = given.pop("schedule_type"), given.pop("schedule_value")
        option = {"interval": "--every", "daily": "--daily", "once": "--once", "cron": "--cron"}.get(
            str(kind), "--cron"
        )
        words = ["jobs", "add", job_id, f"--callback={_word(given.pop('callback'))}"]
        for item in value if isinstance(value, list) and option == "--daily" else [value]:
            words.append(f"{option}={'now' if item is None else _word(item)}")
        del given["job_id"]
        for name, field in given.items():
            text = random.choice(TEXTS) if random.random() < 0.05 else _json(field)
            if text is None:
                break
            words.append(f"--policy={name}={text}" if name not in ("name", "timezone") else f"--{name}={_word(field)}")
        else:
            if random.random() < 0.05:
                words.append(f"--policy={random.choice(TEXTS)}")
            # What an operating system would not hand to a process.
            if not any("\x00" in word or len(word) > 120_000 for word in words):
                return words


def _json(value: object) -> str | None:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError, RuntimeError):
        return None


def _word(value: object) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except (ValueError, RuntimeError):
        return "?"
