"""Every replica executes what is offered: nothing missed, nothing twice, and shares that are worth having."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from replicas import Replicas
from waiting import eventually


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.shared_work", tmp_path)
    yield made
    made.stop()


def test_three_replicas_share_what_is_offered(replicas: Replicas, sql: psycopg.Connection[Any]) -> None:
    replicas.start(3)
    replicas.wait_for(sql, 3)
    eventually(
        lambda: sql.execute("SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded'").fetchone()[0] > 200,
        within_seconds=30,
    )
    rows = sql.execute(
        "SELECT instance_id, status, reason, attempt, deliveries, count(*), max(started_at - scheduled_for) "
        "FROM scheduler.runs GROUP BY 1, 2, 3, 4, 5"
    ).fetchall()
    print(*rows, sep="\n")
    shares = Counter(row[0] for row in rows if row[1] == "succeeded")
    print(
        *sql.execute(
            "SELECT job_id, status, count(*), max(started_at - scheduled_for) FROM scheduler.runs GROUP BY 1,2 ORDER BY 1"
        ).fetchall(),
        sep="\n",
    )
    print(
        *sql.execute(
            "SELECT job_id, scheduled_for, created_at - scheduled_for, status, attempt_started_at-scheduled_for, started_at-scheduled_for, finished_at-scheduled_for, offered, instance_id FROM scheduler.runs WHERE job_id in ('shared-0','shared-1') ORDER BY 1,2 LIMIT 30"
        ).fetchall(),
        sep="\n",
    )
    for log in replicas.logs.glob("replica-*.log"):
        print(log.read_text()[:3000])
    assert 0
