"""Replicas are killed, and what there is to tell is told all the same: once, by whoever lives."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from receiver import SECRET, Receiver, Request, receiving
from replicas import Replicas
from waiting import eventually

Sql = psycopg.Connection[Any]
Start = Callable[..., Replicas]

FAILED_RUNS = "SELECT count(*) FROM scheduler_audit.runs WHERE status IN ('failed', 'lost')"

COUNTED = "SELECT sum(failed_runs) FROM scheduler.alarms"

NOT_LOOKED_AT = "SELECT count(*) FROM scheduler.failed_attempts"


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    made: list[Replicas] = []

    def make(app: str, receiver: Receiver, **settings: str) -> Replicas:
        given = {
            "WEBHOOK_URL": receiver.url,
            "WEBHOOK_SECRET": SECRET,
            "ALARM_INTERVAL": "0.3",
            "OVERDUE_AFTER": "2",
            "LEASE_TTL": "1",
            **settings,
        }
        replicas = Replicas(environment | {f"SCHEDULER_{k}": v for k, v in given.items()}, app, tmp_path)
        made.append(replicas)
        return replicas

    yield make
    for replicas in made:
        replicas.stop()


@pytest.fixture
def fails_while(environment: dict[str, str]) -> Path:
    return Path(environment["WITNESS_FILE"] + ".fails")


def failures_and_recoveries(receiver: Receiver) -> list[Request]:
    """The story of the job that fails, each message once; a slow takeover may make it overdue as well."""
    seen: dict[str, Request] = {}
    for request in list(receiver.requests):
        jobs = request.document["data"].get("jobs", [])
        if request.event == "failure" or any(job.get("of") == "failure" for job in jobs):
            seen.setdefault(request.message_id, request)
    return list(seen.values())


def story_of(job_id: str, receiver: Receiver) -> list[str]:
    """Whether it was overdue, and recovered from that, each message once."""
    seen: dict[str, str] = {}
    for request in list(receiver.requests):
        jobs = {job["job_id"]: job.get("of") for job in request.document["data"].get("jobs", [])}
        if job_id in jobs and (request.event == "overdue" or jobs[job_id] == "overdue"):
            seen.setdefault(request.message_id, request.event)
    return list(seen.values())


def told_twice(receiver: Receiver) -> dict[str, int]:
    """Messages whose like came under several ids: told more than once, and not only sent more than once."""
    ids = {(r.event, str(r.document["data"]), r.document["timestamp"]): set[str]() for r in receiver.requests}
    for r in receiver.requests:
        ids[r.event, str(r.document["data"]), r.document["timestamp"]].add(r.message_id)
    return {event: len(found) for (event, _, _), found in ids.items() if len(found) > 1}


def terms_told(receiver: Receiver) -> Counter[int]:
    return Counter(term for term, _ in {(r.document["data"]["term"], r.message_id) for r in receiver.of("takeover")})


def test_three_replicas_tell_once_while_their_leaders_are_killed(start: Start, sql: Sql, fails_while: Path) -> None:
    """Each failure and each recovery once, each takeover once, and every failed run is counted in an alarm."""
    with receiving() as receiver:
        replicas = start("apps.failing", receiver)
        replicas.start(3)
        replicas.wait_for(sql, 3)
        for round_number in range(3):
            fails_while.touch()
            eventually(lambda n=round_number: len(failures_and_recoveries(receiver)) > 2 * n, what="a failure told")
            leader, _ = replicas.leader(sql)
            leader.send_signal(signal.SIGKILL)
            leader.wait()
            replicas.start(1)
            replicas.wait_for(sql, 3)
            fails_while.unlink()
            eventually(
                lambda n=round_number: len(failures_and_recoveries(receiver)) > 2 * n + 1, what="a recovery told"
            )
        terms = {t for (t,) in sql.execute("SELECT term FROM scheduler_audit.leadership WHERE term > 1").fetchall()}
        eventually(lambda: set(terms_told(receiver)) >= terms, what=f"takeovers {terms} told")
        eventually(lambda: sql.execute(NOT_LOOKED_AT).fetchone() == (0,), what="every failure looked at")
        replicas.stop()

        story = [request.event for request in failures_and_recoveries(receiver)]
        assert story == ["failure", "recovery"] * 3, "in turn, and none of them twice"
        assert told_twice(receiver) == {}
        assert set(terms_told(receiver).values()) == {1}
        assert not any(
            r.document["data"]["is_planned"]
            for r in receiver.of("takeover")
            if r.document["data"]["reason"] == "witness fell"
        )
        assert sql.execute(COUNTED).fetchone() == sql.execute(FAILED_RUNS).fetchone(), "no failed run is forgotten"


def test_with_every_leader_killed_who_may_not_lead_still_tells(start: Start, sql: Sql, fails_while: Path) -> None:
    """sidekiq #3163, a scheduler that was dead for four days and nobody noticed."""
    with receiving() as receiver:
        replicas = start("apps.failing", receiver)
        replicas.start(1, SCHEDULER_ELIGIBLE="false")
        leaders = replicas.start(2)
        replicas.wait_for(sql, 3)
        for leader in leaders:
            leader.send_signal(signal.SIGKILL)
            leader.wait()
        eventually(
            lambda: {"fragile", "tick"} <= {job_id for r in receiver.of("overdue") for job_id in r.job_ids},
            what="both jobs overdue",
        )
        replicas.start(1)
        eventually(
            lambda: {"fragile", "tick"} <= {job_id for r in receiver.of("recovery") for job_id in r.job_ids},
            what="both jobs recovered",
        )
        replicas.stop()
        for job_id in ("fragile", "tick"):
            story = story_of(job_id, receiver)
            turns = (["overdue", "recovery"] * len(story))[: len(story)]
            assert story == turns, "in turn, none of them twice; on a slow machine it may be late again"


def test_a_callback_that_blocks_the_loop_hides_no_alarm(start: Start, sql: Sql) -> None:
    """The only replica's event loop stands still; its watch has a thread of its own."""
    with receiving() as receiver:
        replicas = start("apps.blocking", receiver, STALL_TIMEOUT="60")
        replicas.start(1, BLOCKED_SECONDS="8")
        eventually(lambda: receiver.of("overdue"), what="overdue")
        last_fire = sql.execute("SELECT max(started_at) FROM scheduler_audit.runs WHERE job_id = 'tick'").fetchone()
        assert last_fire is not None
        assert sql.execute("SELECT min(opened_at) > %s FROM scheduler.alarms", last_fire).fetchone() == (True,)
        eventually(lambda: receiver.of("recovery"), what="recovery")


def test_a_replica_that_dies_while_it_delivers_leaves_the_message_to_another(
    start: Start, sql: Sql, fails_while: Path
) -> None:
    with receiving(slow_seconds=60) as receiver:
        replicas = start("apps.failing", receiver, WEBHOOK_TIMEOUT="2")
        fails_while.touch()
        replicas.start(3)
        replicas.wait_for(sql, 3)
        (pid,) = eventually(
            lambda: sql.execute(
                "SELECT i.pid FROM scheduler.notifications n "
                "JOIN scheduler.instances i ON i.instance_id = n.claimed_by "
                "WHERE n.event = 'failure' AND n.next_attempt_at > clock_timestamp() + interval '4 s'"
            ).fetchone(),
            what="a failure that is being sent",
        )  # type: ignore[misc]
        sender = next(process for process in replicas.processes if process.pid == pid)
        sender.send_signal(signal.SIGKILL)
        sender.wait()
        receiver.slow_seconds = 0
        eventually(
            lambda: sql.execute("SELECT 1 FROM scheduler.notifications WHERE delivered_at IS NOT NULL").fetchone()
        )
        (who, attempts) = sql.execute(
            "SELECT i.pid, n.attempts FROM scheduler.notifications n "
            "JOIN scheduler.instances i ON i.instance_id = n.claimed_by WHERE n.event = 'failure'"
        ).fetchone()  # type: ignore[misc]
        assert who != pid
        assert attempts >= 2
        assert len({r.message_id for r in receiver.of("failure")}) == 1, "by its id the receiver knows it"
