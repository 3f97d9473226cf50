"""docs/audit.md: every statement of the page gives the answer that Python works out, reads the days it needs, and runs
in psql as the page says.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from audit_answers import ANSWERS, History, read_history

from bench.audit_page import PAGE, filled, parameters, questions
from bench.generated import Shape, generate, make_jobs
from bench.history import COMMON
from scheduler_core import Container
from scheduler_core.storage.embedded.programs import find_postgres

Sql = psycopg.Connection[Any]

QUESTIONS = questions()
SHAPE = Shape(rows=20_000, days=10, jobs=40, until=date(2026, 3, 6))
CHANGED = next(job.changed_at for job in make_jobs(SHAPE) if job.number == 6)
assert CHANGED is not None
ASKED = {
    "since": "2026-03-01T06:00:00+00:00",
    "until": "2026-03-05T18:00:00+00:00",
    "at": (CHANGED + timedelta(hours=5)).isoformat(),
    "failed_at": (CHANGED + timedelta(seconds=1)).isoformat(),
    "job_id": "job-0006",
    "term": "13",
}

# In the middle of the history, and of what happens there: a bound that is not heeded shows.
ASKED_AGAIN = ASKED | {"since": "2026-03-02T14:30:00+00:00", "until": "2026-03-03T10:00:05+00:00"}

SUMMARY = "How did one job do, day by day?"
LOOKS_BACK = ("Which jobs became slower?", "What was changed between a job's last success and its failure?")

# What the generated history has none of.
ODDITIES = [
    """INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, reason, attempt,
                                    deliveries, started_at, attempt_started_at, finished_at, term, instance_id,
                                    definition_version, error)
       SELECT gen_random_uuid(), job_id, job_id, at, at, 'schedule', status, reason, attempt, 0,
              CASE WHEN attempt > 0 OR status = 'running' THEN at + interval '1 s' END,
              CASE WHEN attempt > 0 OR status = 'running' THEN at + interval '1 s' END,
              CASE WHEN status IN ('failed', 'lost', 'succeeded') THEN at + interval '1 s' + lasted END,
              13, 'by hand', 1, CASE WHEN status IN ('failed', 'lost') THEN 'Odd: ' || at END
       FROM (SELECT 'only-fails', '2026-03-02 12:00+0'::timestamptz + n * interval '1 h',
                    CASE n WHEN 3 THEN 'lost' ELSE 'failed' END, NULL, 2, interval '1 s'
             FROM generate_series(1, 5) AS n
             UNION ALL
             -- Fifty end at the instant at which fifty begin.
             SELECT 'bursts-' || n % 50, '2026-03-03 10:00+0'::timestamptz + n / 50 * interval '10 s', 'succeeded',
                    NULL, 1,
                    interval '10 s'
             FROM generate_series(0, 99) AS n
             UNION ALL
             SELECT 'slows-down', '2026-02-26 12:00+0'::timestamptz + n * interval '4 h', 'succeeded', NULL, 1,
                    interval '1 s' * CASE WHEN n > 17 THEN 3 ELSE 1 END
             FROM generate_series(1, 40) AS n
             UNION ALL
             SELECT 'unfinished', '2026-03-04 12:00+0'::timestamptz + number * interval '1 min', status, reason,
                    attempt, NULL
             FROM (VALUES (1, 'pending', 'no_callback', 0), (2, 'pending', NULL, 0), (3, 'queued', NULL, 0),
                          (4, 'running', NULL, 0), (5, 'running', NULL, 1), (6, 'retrying', NULL, 1))
                  AS open (number, status, reason, attempt)) AS odd (job_id, at, status, reason, attempt, lasted)""",
    # A run that was adopted from a dead owner although its policy forbids it, and one that came back from the dead.
    """INSERT INTO scheduler.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome,
                                        error_type, error_message, term, instance_id, late)
       (SELECT run_id, job_id, scheduled_for, 1, started_at - interval '1 ms', started_at, 'lost', 'OwnerDied', 'x', 1,
               'dead', false
        FROM scheduler.runs WHERE job_id = 'job-0003' AND status = 'succeeded' AND scheduled_for > '2026-03-03'
        ORDER BY scheduled_for LIMIT 2)
       UNION ALL
       (SELECT run_id, job_id, scheduled_for, 1, finished_at + interval '1 s', finished_at + interval '2 s',
               'succeeded', NULL, NULL, 1, 'zombie', true
        FROM scheduler.runs WHERE job_id = 'job-0004' AND status = 'succeeded' AND scheduled_for > '2026-03-03'
        ORDER BY scheduled_for LIMIT 2)
       UNION ALL
       (SELECT run_id, job_id, scheduled_for, 1, started_at - interval '9 s', started_at - interval '8 s', 'succeeded',
               NULL, NULL, 1, 'zombie', true
        FROM scheduler.runs WHERE job_id = 'job-0007' AND status = 'succeeded' AND scheduled_for > '2026-03-03'
        ORDER BY scheduled_for LIMIT 2)
       UNION ALL
       (SELECT run_id, job_id, scheduled_for, 1, started_at, finished_at + interval '9 s', 'failed', 'ValueError', 'y',
               1, 'zombie', true
        FROM scheduler.runs WHERE job_id = 'job-0005' AND status = 'succeeded' AND scheduled_for > '2026-03-03'
        ORDER BY scheduled_for LIMIT 2)""",
    """UPDATE scheduler.runs SET reason = 'paused'
       WHERE (job_id, scheduled_for) IN (SELECT job_id, scheduled_for FROM scheduler.runs
                                         WHERE reason = 'downtime' AND scheduled_for > '2026-03-02' LIMIT 1)""",
    # Rows that stand for several occurrences.
    """UPDATE scheduler.runs SET missed_count = 4, missed_from = scheduled_for - interval '3 s'
       WHERE (job_id, scheduled_for) IN (
           SELECT job_id, scheduled_for FROM scheduler.runs
           WHERE (status IN ('succeeded', 'missed') OR reason = 'calendar') AND origin = 'schedule'
             AND hashtext(run_id::text) % 20 = 0)""",
]


@pytest.fixture
async def history(container: Container, sql: Sql) -> History:
    """Ten days of generated runs, some odd ones by hand, and every row of it in Python."""
    await container.prepare()
    await generate(container, SHAPE)
    sql.execute("SET TimeZone = 'UTC'")
    for statement in ODDITIES:
        sql.execute(statement)
    sql.execute("ANALYZE")
    return read_history(sql, ASKED)


def ask(sql: Sql, question: str, asked: Mapping[str, str] = ASKED) -> list[tuple[Any, ...]]:
    """What Postgres answers to the page's statement."""
    return sql.execute(filled(QUESTIONS[question], asked)).fetchall()  # type: ignore[arg-type]


def alike(value: Any) -> Any:
    """Numbers and durations to the microsecond or thereabouts, whatever their type; the rest as it is."""
    match value:
        case bool() | str() | None:
            return value
        case timedelta():
            return pytest.approx(value.total_seconds(), abs=3e-6)
        case int() | float() | Decimal():
            return pytest.approx(float(value), abs=0.006)
        case _:
            return value


def plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("asked", [ASKED, ASKED_AGAIN], ids=["most of it", "the middle"])
def test_every_question_is_answered_as_python_answers_it(history: History, sql: Sql, asked: dict[str, str]) -> None:
    history = replace(history, asked=asked)
    wrong = []
    for question, answer in ANSWERS.items():
        expected, given = answer(history), ask(sql, question, asked)
        assert expected or asked is not ASKED, f"{question}: this history says nothing about it"
        if len(given) != len(expected) or not all(map(same, given, expected)):
            first = next((pair for pair in zip(given, expected, strict=False) if not same(*pair)), None)
            wrong.append((question, len(given), len(expected), first))
    assert wrong == []


def same(given: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    return [plain(v) for v in given] == [alike(v) for v in expected]


def test_a_wrong_answer_is_noticed(history: History, sql: Sql) -> None:
    """The comparison itself: an answer that is off in one value, or one row short, differs."""
    question = "What do retries do for each job?"
    given = ask(sql, question)
    expected = ANSWERS[question](history)
    off = [(*expected[0][:2], expected[0][2] + 1, *expected[0][3:]), *expected[1:]]
    assert all(same(*pair) for pair in zip(given, expected, strict=True))
    assert not same(given[0], off[0])


def test_every_question_has_a_check_and_every_check_a_question() -> None:
    assert list(ANSWERS) == list(QUESTIONS)
    assert len(QUESTIONS) == PAGE.read_text(encoding="utf-8").count("```sql\n") >= 25
    assert set(COMMON) <= set(QUESTIONS), "python -m bench history takes its statements from the page too"
    assert set().union(*map(parameters, QUESTIONS.values())) == set(ASKED)


def test_only_the_days_of_the_span_are_read(history: History, sql: Sql) -> None:
    """The views must let the bounds through to the partitions."""
    wanted = {f"{date(2026, 3, 1) + timedelta(days=n):%Y%m%d}" for n in range(5)}
    before = {f"{date(2026, 2, 24) + timedelta(days=n):%Y%m%d}" for n in range(10)}
    seen: set[str] = set()
    for question, statement in QUESTIONS.items():
        if question == SUMMARY:
            continue
        (plan,) = sql.execute(f"EXPLAIN (FORMAT JSON) {filled(statement, ASKED)}").fetchone()  # type: ignore[misc,arg-type]
        days = set(re.findall(r'"Relation Name": "(?:runs|attempts)_(\d{8})"', json.dumps(plan)))
        assert days <= (before | wanted if question in LOOKS_BACK else wanted), question
        seen |= days
    assert wanted <= seen


def test_the_statements_run_in_psql_as_they_stand(history: History, database_url: str, tmp_path: Path) -> None:
    psql = find_postgres().folder / "psql"
    page = tmp_path / "page.sql"
    page.write_text("\n".join(QUESTIONS.values()), encoding="utf-8")
    given = [word for name, value in ASKED.items() for word in ("-v", f"{name}={value}")]
    done = subprocess.run(
        [psql, database_url, "-X", "-q", "-v", "ON_ERROR_STOP=1", *given, "--csv", "-f", page],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("job_id") > 10
