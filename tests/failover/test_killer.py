"""A callback that kills its process is charged with it, a bounded number of times, and nobody beside it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from replicas import Replicas, witnessed
from waiting import eventually

Sql = psycopg.Connection[Any]

INNOCENTS = 1_000
ENDED = "SELECT count(*) FROM scheduler.runs WHERE status NOT IN ('pending', 'queued', 'running', 'retrying')"

CHARGED = """
SELECT count(*) FROM scheduler_audit.runs r
WHERE job_id <> 'a-killer' AND (status <> 'succeeded' OR attempts <> 1 OR deliveries > 0 OR error IS NOT NULL
                              OR EXISTS (SELECT FROM scheduler_audit.attempts a
                                         WHERE a.run_id = r.run_id AND a.outcome <> 'succeeded'))
"""

KILLER = "SELECT status, reason FROM scheduler_audit.runs WHERE job_id = 'a-killer'"


class Supervised(Replicas):
    """Two replicas; one that dies is started again."""

    def look_after(self) -> None:
        for replica in [replica for replica in self.processes if replica.poll() is not None]:
            self.processes.remove(replica)
            self.start(1)


@pytest.fixture
def environment_of_killer(environment: dict[str, str]) -> dict[str, str]:
    at = datetime.now(UTC) + timedelta(seconds=5)
    return environment | {"SCHEDULER_LEASE_TTL": "1", "AT": at.isoformat()}


def plays(environment: dict[str, str], sql: Sql, folder: Path, innocents: int, until: Callable[[], bool]) -> None:
    """From the start of two replicas until all runs have ended, or what else is asked for."""
    replicas = Supervised(environment | {"INNOCENTS": str(innocents)}, "apps.killer_among", folder)

    def is_over() -> bool:
        replicas.look_after()
        return sql.execute(ENDED).fetchone() == (innocents + 1,) or until()

    try:
        replicas.start(2)
        eventually(is_over, within_seconds=120, what=f"all have ended; logs in {folder}")
    finally:
        replicas.stop()


def never() -> bool:
    return False


ENDINGS = pytest.mark.parametrize(
    ("delivery", "ending", "most_calls"),
    [("at_least_once", ("failed", "owner_died"), 4), ("at_most_once", ("lost", "owner_died"), 1)],
)


@ENDINGS
def test_one_that_cancels_every_task_is_as_bounded(
    environment_of_killer: dict[str, str],
    sql: Sql,
    tmp_path: Path,
    delivery: str,
    ending: tuple[str, str],
    most_calls: int,
) -> None:
    """Its replica's own are among them. Were it to hand over first, the run would be charged with nothing."""
    plays(environment_of_killer | {"DELIVERY": delivery, "ENDS": "cancels_everything"}, sql, tmp_path, 20, never)
    assert sql.execute(KILLER).fetchone() == ending
    assert sql.execute(CHARGED).fetchone() == (0,), "nobody else is charged"
    assert 1 <= Counter(witnessed(environment_of_killer))["a-killer"] <= most_calls
    assert "cancelled tasks that are not its own" in "".join(log.read_text() for log in tmp_path.glob("replica-*.log"))


@pytest.mark.parametrize("executor", ["process", "dask"])
def test_one_that_cancels_every_task_of_a_worker_ends_with_it(
    executor: str, environment_of_killer: dict[str, str], sql: Sql, tmp_path: Path
) -> None:
    """A worker that lived on would hear of no ticket any more, and its runs would never end.

    Whether its executor tells of the death first (a failed attempt) or the database (the owner's) is a race.
    """
    settings = {
        "DELIVERY": "at_least_once",
        "ENDS": "cancels_everything",
        "EXECUTOR": executor,
        "SCHEDULER_DASK_ADDRESS": "local",
    }
    plays(environment_of_killer | settings, sql, tmp_path, 20, never)
    assert sql.execute(KILLER).fetchone() in (("failed", None), ("failed", "owner_died"))
    assert sql.execute(CHARGED).fetchone() == (0,)
    assert 1 <= Counter(witnessed(environment_of_killer))["a-killer"] <= 4


@ENDINGS
def test_one_kills_its_replica_beside_a_thousand_that_do_not(
    environment_of_killer: dict[str, str],
    sql: Sql,
    tmp_path: Path,
    delivery: str,
    ending: tuple[str, str],
    most_calls: int,
) -> None:
    plays(environment_of_killer | {"DELIVERY": delivery}, sql, tmp_path, INNOCENTS, never)
    assert sql.execute(KILLER).fetchone() == ending
    assert sql.execute(CHARGED).fetchone() == (0,), "nobody else is charged"
    calls = Counter(witnessed(environment_of_killer))
    assert 1 <= calls.pop("a-killer") <= most_calls
    assert len(calls) == INNOCENTS
    assert delivery == "at_least_once" or set(calls.values()) == {1}


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
def test_without_the_gate_innocents_are_charged(
    environment_of_killer: dict[str, str], sql: Sql, tmp_path: Path, delivery: str
) -> None:
    plays(environment_of_killer | {"DELIVERY": delivery, "MUTANT": "no gate"}, sql, tmp_path, 500, never)
    assert sql.execute(CHARGED).fetchone() != (0,)


def test_without_care_it_is_called_for_ever(environment_of_killer: dict[str, str], sql: Sql, tmp_path: Path) -> None:
    def is_called_too_often() -> bool:
        return Counter(witnessed(environment_of_killer))["a-killer"] > 4

    settings = environment_of_killer | {"DELIVERY": "at_least_once", "MUTANT": "no care"}
    plays(settings, sql, tmp_path, 10, is_called_too_often)
    assert is_called_too_often()
