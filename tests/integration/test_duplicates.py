"""Second calls, by what betrays each in the record; and what looks like it and is none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from test_claim import NONCE, leader, plan_of, stored  # noqa: F401 - a fixture among them

from scheduler_core import Container, ScheduleJob
from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.domain.runs.run import Failure, Outcome, RunStatus
from scheduler_core.ports.election import Leadership
from scheduler_core.storage.reads.duplicates import KINDS

Sql = psycopg.Connection[Any]

PAGE = Path(__file__).parents[2] / "docs" / "audit-log.md"

INSERT_RUN = """
INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version, term,
                            attempt, deliveries, started_at, attempt_started_at, finished_at, instance_id)
SELECT gen_random_uuid(), %(job)s, 'J', now, now, 'schedule', %(status)s, 1, %(term)s, %(attempt)s, %(deliveries)s,
       now + make_interval(secs => %(first)s), now + make_interval(secs => %(begin)s),
       now + make_interval(secs => %(end)s), 'i' || %(term)s
FROM (SELECT now()) AS instant (now)
"""

INSERT_ATTEMPT = """
INSERT INTO scheduler.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome, term,
                                instance_id, late)
SELECT run_id, job_id, scheduled_for, %(attempt)s, scheduled_for + make_interval(secs => %(begin)s),
       scheduled_for + make_interval(secs => %(end)s), %(outcome)s, %(term)s, 'i' || %(term)s, %(late)s
FROM scheduler.runs WHERE job_id = %(job)s
"""

Attempt = tuple[int, int, float, float, str]
"""Number, term, from, to (seconds after the instant), outcome; `late succeeded` is one that came too late."""


@dataclass(frozen=True)
class Record:
    """A run's row, and its attempts beside the success that the row itself stands for."""

    kinds: set[str]
    attempts: list[Attempt] = field(default_factory=list)
    status: str = "succeeded"
    attempt: int = 1
    term: int = 2
    begin: float = 4
    end: float = 5
    first: float | None = None
    """When the run was first begun; None: with its first attempt."""
    deliveries: int = 0
    delivery: str = "at_least_once"


RECORDS = {
    "a success": Record(set()),
    "a retry": Record(set(), [(1, 2, 0, 1, "failed"), (2, 2, 2, 3, "failed")], attempt=3),
    "a delivery after a death": Record(set(), [(1, 1, 0, 3, "lost")], deliveries=1),
    "a dead owner that comes back": Record(
        set(), [(1, 1, 0, 9, "lost"), (1, 1, 0, 7, "late succeeded")], status="failed", begin=0, end=9, term=1
    ),
    "a retry that is cancelled": Record(
        set(), [(1, 2, 0, 1, "failed"), (2, 2, 2, 3, "cancelled")], status="cancelled", attempt=2, begin=2, end=3
    ),
    "at_most_once, called again after a death": Record(
        {"beyond_policy"}, [(1, 1, 0, 3, "lost")], deliveries=1, delivery="at_most_once"
    ),
    "at_most_once, called again after a recorded failure": Record(
        set(), [(1, 2, 0, 1, "failed")], attempt=2, delivery="at_most_once"
    ),
    "two at once": Record({"overlapping"}, [(1, 1, 0, 9, "late failed")], attempt=2),
    "two at once, both well": Record({"overlapping"}, [(1, 1, 0, 9, "late succeeded")], attempt=2),
    "a success that comes to the record when the next is under way": Record(
        {"after_success", "same_attempt"}, [(1, 1, 0, 3, "late succeeded")]
    ),
    "a success, a death, and the next": Record(
        {"after_success"}, [(1, 1, 0, 3, "lost"), (1, 1, 0, 3, "late succeeded")], attempt=2, deliveries=1
    ),
    "called again after the end": Record({"after_end"}, [(2, 3, 6, 7, "late failed")]),
    "called again after a cancel": Record(
        {"after_end"}, [(1, 2, 4, 5, "cancelled"), (2, 3, 6, 7, "late succeeded")], status="cancelled"
    ),
    "taken by two": Record({"same_attempt"}, [(1, 1, 0, 3, "late failed")]),
    "ended well and badly": Record({"two_ends"}, [(1, 2, 4, 5, "late failed")]),
    "ended badly, and cancelled": Record(
        {"two_ends"}, [(1, 2, 4, 5, "failed"), (1, 2, 4, 5, "cancelled")], status="cancelled"
    ),
    "more than all the retries": Record(
        {"beyond_retries"}, [(n, 2, n / 10, n / 10 + 0.05, "failed") for n in range(1, 4)], attempt=4
    ),
    "begun, forgotten, begun again": Record({"unended_start"}, first=1),
    "begun by a clock that is half a second off": Record(set(), first=3.5),
    "begun, and lost": Record(set(), [(1, 1, 1, 3, "lost")], first=1, deliveries=1),
}


@pytest.mark.parametrize("name", RECORDS)
async def test_a_second_call_is_found_by_what_betrays_it(name: str, container: Container, sql: Sql) -> None:
    record = RECORDS[name]
    await container.prepare()
    job = ScheduleJob("j", "J", "interval", 9999, "app:f", delivery=record.delivery, max_retries=2)
    await container.get_operations().declare([job.definition("UTC")])
    write(sql, record)
    rows = await container.get_auditor().duplicates(AuditFilter())
    assert {row["kind"] for row in rows} == record.kinds
    assert len(rows) == len(record.kinds), "each is told once"
    assert all(row["executions"] >= 2 and row["detail"] == KINDS[row["kind"]][0] for row in rows)


def write(sql: Sql, record: Record) -> None:
    begins = [begin for _, _, begin, _, _ in record.attempts] + [record.begin]
    first = min(begins) if record.first is None else record.first
    values = {
        **{name: getattr(record, name) for name in ("status", "attempt", "term", "begin", "end", "deliveries")},
        "job": "j",
        "first": first,
    }
    sql.execute(INSERT_RUN, values)
    for number, term, begin, end, outcome in record.attempts:
        *late, ended = outcome.split()
        given = {"attempt": number, "term": term, "begin": begin, "end": end, "outcome": ended, "late": bool(late)}
        sql.execute(INSERT_ATTEMPT, given | {"job": "j"})


def test_every_kind_is_tried_and_is_on_the_page() -> None:
    tried = set().union(*(record.kinds for record in RECORDS.values()))
    assert tried | {"two_rows"} == set(KINDS), "two_rows has a test of its own: a key forbids it"
    page = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"\n| `{kind}` |" not in page] == []


async def test_a_success_of_an_owner_that_was_believed_dead(
    container: Container,
    leader: Leadership,  # noqa: F811
    sql: Sql,
) -> None:
    """It really happens: the successor calls again, and the row shows one attempt that succeeded."""
    runs = container.get_storage().runs
    (run,) = (await runs.claim(leader, [plan_of(await stored(container))], uncallable=False)).runs
    began = await runs.due(ahead_seconds=0.0, limit=0, excluding=[])
    first = Outcome(run, RunStatus.RUNNING, 0, started_at=began.now, attempt_started_at=began.now)
    assert await runs.start(first, "me")
    sql.execute("UPDATE scheduler.leader SET term = 8, instance_id = 'successor'")
    successor = Leadership(8, NONCE, "successor")
    assert await runs.reap(successor, ["me"], max_deliveries=3, limit=10) == 1
    ended = first.started_at + timedelta(milliseconds=1)  # type: ignore[operator]
    (adopted,) = await runs.adopt(successor, mine=[], trust_seconds=0.0, limit=10)
    second_at = (await runs.due(ahead_seconds=0.0, limit=0, excluding=[])).now
    again = Outcome(adopted, RunStatus.SUCCEEDED, 1, None, second_at, None)  # type: ignore[arg-type]
    again = replace(again, finished_at=second_at + timedelta(milliseconds=1))
    await runs.record([again], "successor")
    assert await container.get_auditor().duplicates(AuditFilter()) == [], (
        "the next delivery after a death is no duplicate"
    )
    told = await runs.record([Outcome(run, RunStatus.SUCCEEDED, 1, None, first.started_at, ended)], "me")
    assert told.late == {run.run_id}
    (row,) = await runs_shown(container)
    assert (row["status"], row["attempts"]) == ("succeeded", 1)
    kinds = {row["kind"] for row in await container.get_auditor().duplicates(AuditFilter())}
    assert kinds == {"after_success", "same_attempt"}


async def test_a_short_call_of_an_owner_that_died_is_in_no_record(
    container: Container,
    leader: Leadership,  # noqa: F811
    sql: Sql,
) -> None:
    """What the record can't know: a call that is over before its begin is worth a write, and whose end nobody tells."""
    runs = container.get_storage().runs
    (run,) = (await runs.claim(leader, [plan_of(await stored(container))], uncallable=False)).runs
    # Here the owner calls, and dies with what it would have told.
    sql.execute(
        "UPDATE scheduler.leader SET term = 8, instance_id = 'successor', acquired_at = now() - interval '1 min'"
    )
    (adopted,) = await runs.adopt(Leadership(8, NONCE, "successor"), mine=[], trust_seconds=0.0, limit=10)
    now = (await runs.due(ahead_seconds=0.0, limit=0, excluding=[])).now
    await runs.record([Outcome(adopted, RunStatus.SUCCEEDED, 1, None, now, now)], "successor")  # type: ignore[arg-type]
    (row,) = await runs_shown(container)
    assert (row["run_id"], row["status"], row["attempts"], row["deliveries"]) == (run.run_id, "succeeded", 1, 0)
    assert await container.get_auditor().duplicates(AuditFilter()) == []
    assert sql.execute("SELECT orphaned FROM scheduler.runs").fetchone() == (1,), "the only trace of a death"


async def test_a_failure_is_no_second_call(
    container: Container,
    leader: Leadership,  # noqa: F811
) -> None:
    runs = container.get_storage().runs
    (run,) = (await runs.claim(leader, [plan_of(await stored(container))], uncallable=False)).runs
    now = (await runs.due(ahead_seconds=0.0, limit=0, excluding=[])).now
    failed = Outcome(run, RunStatus.FAILED, 1, None, now, now, failure=Failure("failed", "E", "no"))
    await runs.record([failed], "me")
    assert await container.get_auditor().duplicates(AuditFilter()) == []


async def runs_shown(container: Container) -> list[dict[str, Any]]:
    return await container.get_audit().runs()
