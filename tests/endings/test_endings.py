"""The product on real servers: replicas, pools and clusters that live on, whatever they were given to call.

`ENDINGS=all` tries every case; without it a run tries every ending × kind, and all of the rest among them.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import scheduler as command
from replicas import Replicas, witnessed
from waiting import eventually_async

from endings.product import OCCURRENCES, Case, cases, chosen, expected
from scheduler_core import Container

Sql = psycopg.Connection[Any]

CHOICE = os.environ.get("ENDINGS", "short")

RUNS = """
SELECT job_id, run_id, status, reason, attempts, deliveries, error FROM scheduler_audit.runs
ORDER BY job_id, scheduled_for
"""

ATTEMPTS = """
SELECT job_id, run_id, outcome, error_type, error_message FROM scheduler_audit.attempts
ORDER BY job_id, scheduled_for, attempt, started_at
"""

JOBS = "SELECT job_id, run_count, error_count, consecutive_failures FROM scheduler_audit.jobs"

UNFINISHED = "('pending', 'queued', 'running', 'retrying')"


class Outcomes:
    """What the record says of each case, when all has ended."""

    def __init__(self, sql: Sql, calls: Counter[str]) -> None:
        self.runs: dict[str, list[Any]] = defaultdict(list)
        for job_id, *row in sql.execute(RUNS).fetchall():
            self.runs[job_id].append(row)
        self.attempts: dict[Any, list[Any]] = defaultdict(list)
        for _, run_id, *row in sql.execute(ATTEMPTS).fetchall():
            self.attempts[run_id].append(row)
        self.jobs = {job_id: tuple(row) for job_id, *row in sql.execute(JOBS).fetchall()}
        self.calls = calls

    def differences(self, case: Case) -> Iterator[str]:
        """What of a case is not as it must be."""
        wanted = expected(case)
        runs = self.runs[case.job_id]
        if len(runs) != OCCURRENCES:
            yield f"{len(runs)} runs"
        for run_id, status, reason, attempts, deliveries, error in runs:
            found = self.attempts[run_id]
            yield from _differences(
                {
                    "status": (status, wanted.status),
                    "reason": (reason, wanted.reason),
                    "outcomes": (tuple(outcome for outcome, *_ in found), wanted.attempts),
                    "attempts": (attempts, len(wanted.attempts)),
                    "deliveries": (deliveries, 0),
                    "error": ((error or "").partition(":")[0] or None, wanted.error_type),
                }
            )
            if wanted.error_type is not None:
                for _, error_type, message in found:
                    if error_type != wanted.error_type or (not message and wanted.error_type in NEEDS_TEXT):
                        yield f"attempt: {error_type}: {message!r}"
        calls = len(wanted.attempts) * OCCURRENCES
        failed = 0 if wanted.status == "cancelled" else sum(outcome != "succeeded" for outcome in wanted.attempts)
        ended = 0 if wanted.status == "cancelled" else OCCURRENCES
        yield from _differences(
            {
                "calls": (self.calls[f"called {case.job_id}"], calls),
                "counters": (
                    self.jobs[case.job_id],
                    (ended, failed * OCCURRENCES, ended if wanted.status == "failed" else 0),
                ),
            }
        )
        if case.ending == "returns an awaitable" and self.calls[f"awaited {case.job_id}"] != OCCURRENCES:
            yield "what it returned was not awaited"


NEEDS_TEXT = {"CancelledError", "TimeoutError", "NothingRanError", "BadText"}
"""Errors that say nothing without a message."""


def _differences(pairs: dict[str, tuple[Any, Any]]) -> Iterator[str]:
    for what, (found, wanted) in pairs.items():
        if found != wanted:
            yield f"{what}: {found!r}, not {wanted!r}"


@pytest.mark.parametrize("place", ["local", "process", "dask"])
async def test_whatever_a_callback_does_its_run_ends(
    place: str, environment: dict[str, str], container: Container, sql: Sql, tmp_path: Path
) -> None:
    these = chosen(cases(place), CHOICE)
    starts_at = datetime.now(UTC) + timedelta(seconds=10)
    settings = {
        "ENDINGS": f"{place}/{CHOICE}",
        "ENDINGS_START": starts_at.isoformat(),
        "SCHEDULER_APP": "endings.app",
        "SCHEDULER_APPLICATION": "endings",
        "SCHEDULER_LEASE_TTL": "1",
        "SCHEDULER_PROCESS_WORKERS": "4",
        "SCHEDULER_DASK_ADDRESS": "local",
    }
    replicas = Replicas(environment | settings, "endings.app", tmp_path)
    try:
        [replica] = replicas.start(1)
        replicas.wait_for(sql, 1)
        await _cancel_those_that_wait_for_it(these, sql, environment, container)
        left = f"SELECT count(*) FROM scheduler.runs WHERE status IN {UNFINISHED}"
        made = "SELECT count(*) FROM scheduler.runs"
        whole = len(these) * OCCURRENCES
        await eventually_async(
            lambda: sql.execute(made).fetchone() == (whole,) and sql.execute(left).fetchone() == (0,),
            within_seconds=240,
            what=f"{whole} runs that have ended; log in {tmp_path}",
        )
        outcomes = Outcomes(sql, Counter(witnessed(environment)))
        wrong = [f"{case.job_id}: {found}" for case in these for found in outcomes.differences(case)]
        assert not wrong, "\n".join(wrong)
        assert replica.poll() is None, "the replica lives"
        leaders = sql.execute("SELECT count(*) FROM scheduler_audit.leadership").fetchone()
        assert leaders == (1,), "and it has led all the time"
        _says_what_happened(these, environment | settings, tmp_path)
    finally:
        replicas.stop()


async def _cancel_those_that_wait_for_it(
    these: list[Case], sql: Sql, environment: dict[str, str], container: Container
) -> None:
    """The operator's part: each run of these is cancelled once its callback has been called."""
    waiting = [case.job_id for case in these if case.ending == "is cancelled by an operator"] * OCCURRENCES
    running = "SELECT job_id, run_id FROM scheduler.runs WHERE status = 'running' AND cancel_requested_at IS NULL"

    def found() -> list[Any]:
        called = set(witnessed(environment))
        rows = sql.execute(running).fetchall()
        return [row for row in rows if row[0] in waiting and f"called {row[0]}" in called]

    while waiting:
        for job_id, run_id in await eventually_async(found, within_seconds=120, what=f"runs to cancel: {waiting}"):
            await container.get_run_operations().cancel(run_id, "tests")
            waiting.remove(job_id)


def _says_what_happened(these: list[Case], environment: dict[str, str], folder: Path) -> None:
    """`explain` names the error of one case of each kind of failure; `doctor` finds nothing that waits."""
    shown: dict[str, Case] = {}
    for case in these:
        wanted = expected(case)
        if wanted.error_type is not None and wanted.status == "failed":
            shown.setdefault(wanted.error_type, case)
    for error_type, case in shown.items():
        told = command("explain", case.job_id, environment=environment, folder=folder)
        assert error_type.encode() in told.stdout, (case.job_id, told.stdout, told.stderr)
    doctor = command("doctor", environment=environment, folder=folder).stdout
    for word in (b"no callback", b"overdue", b"undeclared"):
        assert word not in doctor, doctor
