"""A callback that kills its process is charged with it, a bounded number of times, and nobody beside it is."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from replicas import Replicas, witnessed
from waiting import eventually

Sql = psycopg.Connection[Any]

INNOCENTS = 1_000

CHARGED = """
SELECT count(*) FROM scheduler_audit.runs r
WHERE job_id <> 'killer' AND (status <> 'succeeded' OR attempts <> 1 OR deliveries > 0 OR error IS NOT NULL
                              OR EXISTS (SELECT FROM scheduler_audit.attempts a
                                         WHERE a.run_id = r.run_id AND a.outcome <> 'succeeded'))
"""

KILLER = "SELECT status, reason FROM scheduler_audit.runs WHERE job_id = 'killer'"


@pytest.mark.parametrize(
    ("delivery", "ending", "most_calls"),
    [("at_least_once", ("failed", "owner_died"), 4), ("at_most_once", ("lost", "owner_died"), 1)],
)
def test_one_kills_its_replica_beside_a_thousand_that_do_not(
    environment: dict[str, str], sql: Sql, tmp_path: Path, delivery: str, ending: tuple[str, str], most_calls: int
) -> None:
    at = datetime.now(UTC) + timedelta(seconds=5)
    replicas = Replicas(
        environment | {"SCHEDULER_LEASE_TTL": "1", "DELIVERY": delivery, "AT": at.isoformat()},
        "apps.killer_among",
        tmp_path,
    )
    ended = "SELECT count(*) FROM scheduler.runs WHERE status NOT IN ('pending', 'queued', 'running', 'retrying')"

    def all_ended() -> bool:
        for replica in [replica for replica in replicas.processes if replica.poll() is not None]:
            replicas.processes.remove(replica)
            replicas.start(1)  # as a supervisor does
        return sql.execute(ended).fetchone() == (INNOCENTS + 1,)

    try:
        replicas.start(2)
        eventually(all_ended, within_seconds=120, what=f"all have ended; logs in {tmp_path}")
    finally:
        replicas.stop()
    assert sql.execute(KILLER).fetchone() == ending
    assert sql.execute(CHARGED).fetchone() == (0,), "nobody else is charged"
    calls = Counter(witnessed(environment))
    assert 1 <= calls.pop("killer") <= most_calls
    assert len(calls) == INNOCENTS
    assert delivery == "at_least_once" or set(calls.values()) == {1}
