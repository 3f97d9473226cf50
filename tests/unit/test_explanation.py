"""Why a job did or did not run: sentences from facts, as a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler_core import Origin, RunStatus, ScheduleJob
from scheduler_core.domain.planning.explanation import Facts, LockFacts, explain
from scheduler_core.domain.planning.plan import StoredJob
from scheduler_core.domain.runs.words import RunFacts, describe_run

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OTHER = UUID(int=2)


def stored(changes: dict[str, Any] | None = None, **policies: Any) -> StoredJob:
    job = ScheduleJob("j", "J", "daily", "14:30", "app:work", timezone="Europe/Berlin", **policies)
    definition = job.definition("UTC")
    anchor = NOW - timedelta(days=3)
    next_run = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
    made = StoredJob(definition, 1, anchor, definition.schedule(anchor), next_run, next_run)
    return replace(made, **(changes or {}))


def facts(job: StoredJob | None = None, **known: Any) -> Facts:
    given: dict[str, Any] = {
        "leader": "a-1 (host h, pid 1)",
        "leader_since": NOW - timedelta(hours=1),
        "term": 7,
        "replicas": 2,
        "callers": 2,
    }
    return Facts("j", NOW, job or stored(), **(given | known))


LED = "a-1 (host h, pid 1) leads since 2026-06-01 13:00:00+02:00, in term 7."


@pytest.mark.parametrize(
    ("given", "sentences", "will_fire"),
    [
        (facts(), ["It fires next at 2026-06-01 14:30:00+02:00, in 30 min.", LED], True),
        (
            facts(stored({"due_at": datetime(2026, 6, 1, 12, 30, 5, tzinfo=UTC)}, jitter=10)),
            [
                "It fires next at 2026-06-01 14:30:00+02:00, by its jitter at 2026-06-01 14:30:05+02:00, "
                "in 30 min 5 s.",
                LED,
            ],
            True,
        ),
        (facts(stored(enabled=False)), ["It does not fire: its definition has enabled=False.", LED], False),
        (
            facts(
                stored({"auto_disabled_at": NOW - MINUTE}, disable_after=3),
                consecutive_failures=3,
                last_error="ValueError: no",
            ),
            [
                "It does not fire: it was disabled at 2026-06-01 13:59:00+02:00, after 3 failures in a row "
                "(disable_after is 3). The last error was: ValueError: no. `scheduler jobs resume j` lets it fire "
                "again.",
                LED,
            ],
            False,
        ),
        (
            facts(stored({"paused_at": NOW - MINUTE}), paused_by="alice", pause_note="the disk is full"),
            [
                "It does not fire: it is paused by alice since 2026-06-01 13:59:00+02:00, until somebody resumes it "
                "(`scheduler jobs resume j`). The note says: the disk is full.",
                LED,
            ],
            False,
        ),
        (
            facts(stored({"paused_at": NOW - MINUTE, "paused_until": NOW + timedelta(days=1)}), paused_by="alice"),
            [
                "It does not fire: it is paused by alice since 2026-06-01 13:59:00+02:00, until "
                "2026-06-02 14:00:00+02:00.",
                LED,
            ],
            True,
        ),
        (
            facts(stored({"paused_at": NOW - 2 * MINUTE, "paused_until": NOW - MINUTE})),
            ["It fires next at 2026-06-01 14:30:00+02:00, in 30 min.", LED],
            True,
        ),
        (
            facts(stored({"next_run": None, "due_at": None}, end_at="2026-06-01T10:00:00+00:00")),
            ["It does not fire any more: its end_at, 2026-06-01 12:00:00+02:00, has passed.", LED],
            False,
        ),
        (
            facts(stored({"next_run": None, "due_at": None, "finished_at": NOW - MINUTE})),
            [
                "It does not fire any more: its schedule has no further occurrence since 2026-06-01 13:59:00+02:00.",
                LED,
            ],
            False,
        ),
        (
            facts(stored(calendars=["holidays"])),
            [
                "It does not fire: there is no calendar 'holidays', so nobody can tell which days it leaves out. "
                "`scheduler calendars add holidays` creates it.",
                LED,
            ],
            False,
        ),
        (
            facts(stored({"next_run": NOW - MINUTE, "due_at": NOW - MINUTE}), leader=None, replicas=0, callers=0),
            [
                "The occurrence of 2026-06-01 13:59:00+02:00 is due for 1 min: nobody leads.",
                "Nobody leads, and no replica lives: start one with `scheduler run --app MODULE`.",
            ],
            True,
        ),
        (
            facts(leader=None),
            [
                "It fires next at 2026-06-01 14:30:00+02:00, in 30 min.",
                "Nobody leads, and of 2 replicas that live none may, or one is about to.",
            ],
            True,
        ),
        (
            facts(callers=0),
            [
                "It fires next at 2026-06-01 14:30:00+02:00, in 30 min.",
                LED,
                "No replica that lives can call app:work for this job: its runs wait until one that can is started.",
            ],
            True,
        ),
        (
            facts(callers=1),
            [
                "It fires next at 2026-06-01 14:30:00+02:00, in 30 min.",
                LED,
                "1 of 2 replicas can call app:work.",
            ],
            True,
        ),
        (
            facts(stored(disable_after=5), consecutive_failures=2, last_error="ValueError: no"),
            [
                "It fires next at 2026-06-01 14:30:00+02:00, in 30 min.",
                LED,
                "The last 2 runs failed, the latest with ValueError: no; after 5 in a row the job is disabled.",
            ],
            True,
        ),
        (
            facts(lock=LockFacts("job:j", is_known=True, is_held=True, run_id=str(OTHER), expires_in_seconds=200.2)),
            [
                "It fires next at 2026-06-01 14:30:00+02:00, in 30 min.",
                LED,
                f"Its lock 'job:j' is held by the run {OTHER}, for 200 s more unless it is renewed.",
            ],
            True,
        ),
        (
            facts(lock=LockFacts("job:j", is_known=True)),
            ["It fires next at 2026-06-01 14:30:00+02:00, in 30 min.", LED, "Its lock 'job:j' is free."],
            True,
        ),
        (
            facts(lock=LockFacts("job:j", is_known=False)),
            [
                "It fires next at 2026-06-01 14:30:00+02:00, in 30 min.",
                LED,
                "Nobody can tell who holds its lock 'job:j': the lock service can't be asked.",
            ],
            True,
        ),
    ],
)
def test_the_job(given: Facts, sentences: list[str], will_fire: bool) -> None:
    told = explain(given)
    assert list(told.sentences) == sentences
    assert told.will_fire is will_fire
    assert told.is_known
    assert told.schedule == "at 14:30 every day"


def test_a_job_that_is_not_there_was_removed_or_can_not_be_read() -> None:
    nothing = explain(Facts("j", NOW, None))
    assert (nothing.is_known, nothing.will_fire) == (False, False)
    assert "There is no job 'j'" in nothing.sentences[0]
    removed = explain(Facts("j", NOW, None, runs=(run(RunStatus.SUCCEEDED),)))
    assert not removed.is_known
    assert "was removed, and its history stays" in removed.sentences[0]
    assert len(removed.runs) == 1
    spoilt = explain(Facts("j", NOW, None, problem="timezone"))
    assert spoilt.is_known
    assert "can't be read" in spoilt.sentences[0]


def test_what_comes_next_begins_after_a_pause_and_says_local_time() -> None:
    until = datetime(2026, 6, 10, tzinfo=UTC)
    told = explain(facts(stored({"paused_at": NOW, "paused_until": until})))
    assert len(told.upcoming) == 10
    assert told.upcoming[0].utc == datetime(2026, 6, 10, 12, 30, tzinfo=UTC)
    assert told.upcoming[0].local.isoformat() == "2026-06-10T14:30:00+02:00"


def run(status: RunStatus, **known: Any) -> RunFacts:
    return RunFacts(UUID(int=1), NOW, known.pop("origin", Origin.SCHEDULE), status, **known)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            run(RunStatus.SUCCEEDED, attempt=1, started_at=NOW, finished_at=NOW + timedelta(seconds=0.25)),
            "The occurrence of 2026-06-01 14:00:00+02:00 succeeded, in 250 ms.",
        ),
        (
            run(RunStatus.SUCCEEDED, attempt=2, started_at=NOW + 5 * MINUTE, finished_at=NOW + 6 * MINUTE),
            "The occurrence of 2026-06-01 14:00:00+02:00 succeeded at attempt 2, in 1 min, having begun 5 min late.",
        ),
        (
            run(RunStatus.SUCCEEDED, origin=Origin.BACKFILL, attempt=1, started_at=NOW + 5 * MINUTE),
            "The backfilled occurrence of 2026-06-01 14:00:00+02:00 succeeded.",
        ),
        (
            run(RunStatus.FAILED, origin=Origin.TRIGGER, attempt=4, error="ValueError: no"),
            "The run triggered at 2026-06-01 14:00:00+02:00 failed after 4 attempts: ValueError: no.",
        ),
        (
            run(RunStatus.FAILED, reason="owner_died", deliveries=3),
            "The occurrence of 2026-06-01 14:00:00+02:00 failed: 3 times its owner died while it executed, and that "
            "is the limit.",
        ),
        (
            run(RunStatus.FAILED, reason="end_unknown", deliveries=3),
            "The occurrence of 2026-06-01 14:00:00+02:00 failed: 3 times it is not known how it ended, and that is the "
            "limit.",
        ),
        (
            run(RunStatus.LOST, reason="end_unknown"),
            "The occurrence of 2026-06-01 14:00:00+02:00 was lost: it is not known how it ended, and a job with "
            "delivery at_most_once is not executed again.",
        ),
        (
            run(RunStatus.SKIPPED, reason="overlap", overlapped_run_id=OTHER, overlapped_scheduled_for=NOW - MINUTE),
            f"The occurrence of 2026-06-01 14:00:00+02:00 was skipped: the run of 2026-06-01 13:59:00+02:00 ({OTHER}) "
            'executed still, and the job\'s overlap is "skip".',
        ),
        (
            run(RunStatus.SKIPPED, reason="locked"),
            "The occurrence of 2026-06-01 14:00:00+02:00 was skipped: somebody else held the job's lock 'job:j'.",
        ),
        (
            run(RunStatus.SKIPPED, reason="calendar"),
            "The occurrence of 2026-06-01 14:00:00+02:00 was skipped: one of the job's calendars excludes it.",
        ),
        (
            run(RunStatus.SKIPPED, reason="calendar", missed_count=3, missed_from=NOW - 2 * MINUTE),
            "3 occurrences from 2026-06-01 13:58:00+02:00 to 2026-06-01 14:00:00+02:00 were skipped: one of the job's "
            "calendars excludes them.",
        ),
        (
            run(RunStatus.SKIPPED, reason="something_new"),
            "The occurrence of 2026-06-01 14:00:00+02:00 was skipped: something new.",
        ),
        (
            run(RunStatus.MISSED, reason="misfire", missed_count=60, missed_from=NOW - 59 * MINUTE),
            "60 occurrences from 2026-06-01 13:01:00+02:00 to 2026-06-01 14:00:00+02:00 did not run: planned later "
            'than the job allows (misfire_grace is 10 s, misfire is "latest"): nobody led at that time, or the job '
            "was changed.",
        ),
        (
            run(RunStatus.MISSED, reason="paused", missed_count=1, missed_from=NOW),
            "The occurrence of 2026-06-01 14:00:00+02:00 did not run: the job was paused.",
        ),
        (
            run(RunStatus.SUCCEEDED, missed_count=3, missed_from=NOW - 2 * MINUTE),
            "The occurrence of 2026-06-01 14:00:00+02:00 succeeded; its row also counts 3 occurrences since "
            "2026-06-01 13:58:00+02:00.",
        ),
        (
            run(RunStatus.LOST, reason="owner_died"),
            "The occurrence of 2026-06-01 14:00:00+02:00 was lost: its owner died while it executed, and a job with "
            "delivery at_most_once is not executed again.",
        ),
        (
            run(RunStatus.CANCELLED, cancel_requested_at=NOW, cancel_requested_by="alice"),
            "The occurrence of 2026-06-01 14:00:00+02:00 was cancelled by alice at 2026-06-01 14:00:00+02:00, before "
            "it began.",
        ),
        (
            run(RunStatus.CANCELLED),
            "The occurrence of 2026-06-01 14:00:00+02:00 was cancelled: its replica stopped before the callback had "
            "ended.",
        ),
        (
            run(RunStatus.RUNNING, started_at=NOW, instance_id="a-1", owner_lives=False),
            "The occurrence of 2026-06-01 14:00:00+02:00 executes since 2026-06-01 14:00:00+02:00 on a-1, which is "
            "gone: the leader takes the run over within a lease's TTL.",
        ),
        (
            run(RunStatus.RETRYING, attempt=1, next_attempt_at=NOW + MINUTE, error="ValueError: no"),
            "The occurrence of 2026-06-01 14:00:00+02:00 waits for attempt 2 of 4, due at 2026-06-01 14:01:00+02:00; "
            "the last one failed: ValueError: no.",
        ),
        (
            run(RunStatus.QUEUED, instance_id="a-1", owner_lives=True),
            "The occurrence of 2026-06-01 14:00:00+02:00 waits until the job's run before it has ended.",
        ),
        (
            run(RunStatus.PENDING, reason="no_callback"),
            "The occurrence of 2026-06-01 14:00:00+02:00 waits for a replica that can call app:work.",
        ),
        (
            run(RunStatus.PENDING, offered="replicas"),
            "The occurrence of 2026-06-01 14:00:00+02:00 is offered to every replica that executes and can call "
            "app:work.",
        ),
        (
            run(RunStatus.PENDING, origin=Origin.RERUN),
            "The rerun of 2026-06-01 14:00:00+02:00 waits for the leader to take it.",
        ),
        (
            run(RunStatus.PENDING, instance_id="a-1", owner_lives=True),
            "The occurrence of 2026-06-01 14:00:00+02:00 is about to begin on a-1.",
        ),
    ],
)
def test_a_run(told: RunFacts, sentence: str) -> None:
    assert describe_run(told, stored().definition, "Europe/Berlin") == sentence
    assert describe_run(told, None, "UTC").endswith("."), "of a removed job too"


@pytest.mark.parametrize(("reason", "why"), [("too_late", "too late"), (None, "nobody wrote down why")])
@pytest.mark.parametrize("status", [RunStatus.SKIPPED, RunStatus.MISSED])
def test_a_reason_without_a_sentence_speaks_for_itself(status: RunStatus, reason: str | None, why: str) -> None:
    assert describe_run(run(status, reason=reason), None, "UTC").endswith(f": {why}.")


def test_unfinished_runs_come_first() -> None:
    runs = (run(RunStatus.SUCCEEDED), run(RunStatus.RUNNING), run(RunStatus.FAILED))
    told = explain(facts(runs=runs))
    assert [one.status for one, _ in told.runs] == [RunStatus.RUNNING, RunStatus.SUCCEEDED, RunStatus.FAILED]
