"""The product on real servers: replicas, pools and clusters that live on, whatever they were given to call; those that
die of it are started again by a supervisor.

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

from endings import catalogue
from endings.page import PLACES, written
from endings.product import Case, cases, chosen, expected, policies
from scheduler_core import Container, ScheduleJob
from scheduler_core.testing import ManualScheduler

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

PATIENCE_SECONDS = 240 if CHOICE == "short" else 3_000

STUCK = """
SELECT job_id, status, reason, attempt, deliveries, instance_id, next_attempt_at, cancel_requested_at
FROM scheduler.runs
WHERE status IN ('pending', 'queued', 'running', 'retrying')
"""

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
        if len(runs) != case.occurrences:
            yield f"{len(runs)} runs"
        for run_id, status, reason, attempts, deliveries, error in runs:
            found = self.attempts[run_id]
            told = {
                "status": (status, wanted.status),
                "reason": (reason, wanted.reason),
                "outcomes": (tuple(outcome for outcome, *_ in found), wanted.attempts),
                "attempts": (attempts, len(wanted.attempts)),
                "deliveries": (deliveries, 0),
                "error": ((error or "").partition(":")[0] or None, wanted.error_type),
            }
            if wanted.most_calls is not None:
                # Each death is a delivery; where nobody knows that the callback had begun, it is none of its attempts.
                for what in ("outcomes", "attempts", "deliveries"):
                    del told[what]
                if deliveries > wanted.most_deliveries or any(outcome != "lost" for outcome, *_ in found):
                    yield f"{deliveries} deliveries, attempts {found}"
            yield from _differences(told)
            if wanted.error_type is not None:
                for _, error_type, message in found:
                    if error_type != wanted.error_type or (not message and wanted.error_type in NEEDS_TEXT):
                        yield f"attempt: {error_type}: {message!r}"
        calls = self.calls[f"called {case.job_id}"]
        if wanted.most_calls is not None:
            if not 1 <= calls <= wanted.most_calls:
                yield f"{calls} calls, not 1 to {wanted.most_calls}"
            return
        whole = len(wanted.attempts) * case.occurrences
        failed = 0 if wanted.status == "cancelled" else sum(outcome != "succeeded" for outcome in wanted.attempts)
        ended = 0 if wanted.status in ("cancelled", "lost") else case.occurrences
        yield from _differences({"calls": (calls, whole)})
        if wanted.status != "lost":
            counters = (ended, failed * case.occurrences, ended if wanted.status == "failed" else 0)
            yield from _differences({"counters": (self.jobs[case.job_id], counters)})
        if case.ending == "returns an awaitable" and self.calls[f"awaited {case.job_id}"] != case.occurrences:
            yield "what it returned was not awaited"


NEEDS_TEXT = {"CancelledError", "TimeoutError", "NothingRanError", "BadText"}
"""Errors that say nothing without a message."""


def _differences(pairs: dict[str, tuple[Any, Any]]) -> Iterator[str]:
    for what, (found, wanted) in pairs.items():
        if found != wanted:
            yield f"{what}: {found!r}, not {wanted!r}"


PLAYS = [
    *((place, choice) for place in PLACES for choice in (CHOICE, f"{CHOICE} killers")),
]


@pytest.mark.parametrize(("place", "choice"), PLAYS)
async def test_whatever_a_callback_does_its_run_ends(
    place: str, choice: str, environment: dict[str, str], container: Container, sql: Sql, tmp_path: Path
) -> None:
    choice = choice.removeprefix("short ")
    these = chosen(cases(place), choice)
    starts_at = datetime.now(UTC) + timedelta(seconds=10)
    settings = {
        "ENDINGS": f"{place}/{choice}",
        "ENDINGS_START": starts_at.isoformat(),
        "SCHEDULER_APP": "endings.app",
        "SCHEDULER_APPLICATION": "endings",
        "SCHEDULER_LEASE_TTL": "1",
        "SCHEDULER_PROCESS_WORKERS": "4",
        "SCHEDULER_DASK_ADDRESS": "local",
    }
    replicas = Replicas(environment | settings, "endings.app", tmp_path)
    dies = place in ("local", "replicas") and choice.endswith("killers")
    left = f"SELECT count(*) FROM scheduler.runs WHERE status IN {UNFINISHED}"
    made = "SELECT count(*) FROM scheduler.runs"
    whole = sum(case.occurrences for case in these)

    def have_ended() -> bool:
        if dies and replicas.processes[-1].poll() is not None:
            replicas.start(1)  # as a supervisor does
        return sql.execute(made).fetchone() == (whole,) and sql.execute(left).fetchone() == (0,)

    try:
        [replica] = replicas.start(1)
        replicas.wait_for(sql, 1)
        await _cancel_those_that_wait_for_it(these, sql, environment, container)
        try:
            await eventually_async(have_ended, within_seconds=PATIENCE_SECONDS)
        except AssertionError:
            [made_now] = sql.execute(made).fetchone() or [0]
            stuck = sql.execute(STUCK).fetchall()
            raise AssertionError(f"{made_now} runs of {whole}, not ended: {stuck}; log in {tmp_path}") from None
        outcomes = Outcomes(sql, Counter(witnessed(environment)))
        wrong = [f"{case.job_id}: {found}" for case in these for found in outcomes.differences(case)]
        assert not wrong, "\n".join(wrong)
        if not dies:
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
    waiting = [
        case.job_id for case in these for _ in range(case.occurrences) if case.ending == "is cancelled by an operator"
    ]
    cancelled = Counter[str]()
    running = "SELECT job_id, run_id FROM scheduler.runs WHERE status = 'running' AND cancel_requested_at IS NULL"

    def found() -> list[Any]:
        # Before the calls are counted: so that what runs now has been called as often as is found then.
        rows = sql.execute(running).fetchall()
        called = Counter(witnessed(environment))
        return [row for row in rows if row[0] in waiting and called[f"called {row[0]}"] > cancelled[row[0]]]

    while waiting:
        for job_id, run_id in await eventually_async(found, within_seconds=120, what=f"runs to cancel: {waiting}"):
            await container.get_run_operations().cancel(run_id, "tests")
            waiting.remove(job_id)
            cancelled[job_id] += 1


EXPLAINED = {"OwnerDied": "its owner died while it executed"}


def _says_what_happened(these: list[Case], environment: dict[str, str], folder: Path) -> None:
    """`explain` names the error of one case of each kind of failure; `doctor` finds nothing that waits."""
    shown: dict[str, Case] = {}
    for case in these:
        wanted = expected(case)
        if wanted.error_type is not None and wanted.status == "failed":
            shown.setdefault(wanted.error_type, case)
    for error_type, case in shown.items():
        told = command("explain", case.job_id, environment=environment, folder=folder)
        words = EXPLAINED.get(error_type, error_type)
        assert words.encode() in told.stdout, (case.job_id, told.stdout, told.stderr)
    doctor = command("doctor", environment=environment, folder=folder).stdout
    for word in (b"no callback", b"overdue", b"undeclared"):
        assert word not in doctor, doctor


def test_the_page_says_what_the_tests_hold_to() -> None:
    """If it was meant: `python -m tests.endings > docs/endings.md`."""
    page = Path(__file__).parents[2] / "docs" / "endings.md"
    assert page.read_text(encoding="utf-8") == written()


# In virtual time.


async def test_a_test_of_jobs_sees_the_same_endings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WITNESS_FILE", str(tmp_path / "witness"))
    these = chosen(cases("ManualScheduler"), CHOICE)
    async with ManualScheduler() as scheduler:
        for case in these:
            function = getattr(catalogue, catalogue.name_of(case.ending, case.kind, case.when))
            await scheduler.add_job(ScheduleJob(case.job_id, "J", "interval", 60, function, **policies(case)))
        await scheduler.advance(seconds=150)
        wrong = [f"{case.job_id}: {found}" for case in these for found in _recorded(scheduler, case)]
    assert not wrong, "\n".join(wrong)


def _recorded(scheduler: ManualScheduler, case: Case) -> Iterator[str]:
    wanted, runs = expected(case), scheduler.runs_of(case.job_id)
    if len(runs) != case.occurrences:
        yield f"{len(runs)} runs"
    for run in runs:
        found = (str(run.status), run.reason, (run.error or "").partition(":")[0] or None, run.attempts)
        if found != (wanted.status, wanted.reason, wanted.error_type, len(wanted.attempts)):
            yield f"{found}"
