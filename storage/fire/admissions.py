"""Admissions: which waiting runs may execute, of jobs that share a limit. Counted in the statement that admits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import WaitingRun

# Fenced like the claim, and one at a time: who moves the number on has seen, in the same snapshot, all that was
# admitted before; one that comes late, or was sent twice, finds it moved and admits nothing. What ends meanwhile only
# makes room. A run counts from here until its row has ended, or goes back to whoever leads next: whoever executes it,
# and though its replica may be dead, as long as nobody has found that out. A rate is arithmetic on one row: each run
# that begins spends its share of the time.
ADMIT = """
WITH fence AS (
    SELECT term FROM {schema}.leader WHERE term = :term AND nonce = :nonce FOR SHARE
), turn AS (
    UPDATE {schema}.admissions SET number = number + 1
    WHERE number = :number AND EXISTS (SELECT FROM fence)
    RETURNING number
), wanted AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:run_ids AS uuid[]), CAST(:job_ids AS text[]), CAST(:scheduled_fors AS timestamptz[]),
                         CAST(:keys AS text[]), CAST(:limits AS bigint[]), CAST(:every AS double precision[]),
                         CAST(:bursts AS double precision[])) WITH ORDINALITY
         AS w (run_id, job_id, scheduled_for, key, most, every, burst, place)
), mine AS MATERIALIZED (
    SELECT w.*, r.concurrency_key IS NOT NULL AS is_admitted
    FROM wanted w JOIN {schema}.runs r
      ON r.run_id = w.run_id AND r.job_id = ANY (ARRAY[w.job_id]) AND r.scheduled_for = w.scheduled_for
    WHERE r.instance_id = :instance_id AND r.status IN {waiting}
), live AS MATERIALIZED (
    SELECT concurrency_key AS key, count(*) AS live FROM {schema}.runs
    WHERE concurrency_key = ANY(CAST(:keys AS text[])) AND concurrency_key IS NOT NULL AND status IN {unfinished}
    GROUP BY concurrency_key
), pace AS MATERIALIZED (
    SELECT w.key, now.now, greatest(max(p.spent_to), now.now) AS spent_to
    FROM (SELECT clock_timestamp() AS now) AS now
    CROSS JOIN (SELECT DISTINCT key FROM wanted WHERE every IS NOT NULL) AS w
    LEFT JOIN {schema}.paces p ON p.key = w.key
    GROUP BY w.key, now.now
), next AS MATERIALIZED (
    SELECT m.run_id, m.job_id, m.scheduled_for, m.key, m.every
    FROM (SELECT *, row_number() OVER (PARTITION BY key ORDER BY place) AS rank FROM mine WHERE NOT is_admitted) AS m
    LEFT JOIN live l ON l.key = m.key
    LEFT JOIN pace p ON p.key = m.key
    WHERE (m.most IS NULL OR coalesce(l.live, 0) + m.rank <= m.most)
      AND (m.every IS NULL OR p.spent_to + m.rank * make_interval(secs => m.every)
                              <= p.now + make_interval(secs => m.burst))
    ORDER BY m.job_id
), admitted AS (
    UPDATE {schema}.runs r SET concurrency_key = n.key
    FROM next n
    WHERE r.run_id = n.run_id AND r.job_id = ANY (ARRAY[n.job_id]) AND r.scheduled_for = n.scheduled_for
      AND r.instance_id = :instance_id AND r.status IN {waiting} AND EXISTS (SELECT FROM turn)
    RETURNING r.run_id, n.key, n.every
), spent AS (
    INSERT INTO {schema}.paces AS s (key, spent_to)
    SELECT a.key, p.spent_to + sum(make_interval(secs => a.every))
    FROM admitted a JOIN pace p ON p.key = a.key
    WHERE a.every IS NOT NULL
    GROUP BY a.key, p.spent_to
    ON CONFLICT (key) DO UPDATE SET spent_to = excluded.spent_to
)
SELECT (SELECT term FROM fence) AS term, (SELECT number FROM turn) AS number,
       ARRAY(SELECT run_id FROM admitted UNION ALL SELECT run_id FROM mine WHERE is_admitted) AS admitted,
       ARRAY(SELECT run_id FROM mine) AS mine
"""

ADMISSIONS = """
SELECT number FROM {schema}.admissions
"""


def admit_parameters(leadership: Leadership, number: int, waiting: Sequence[WaitingRun]) -> dict[str, Any]:
    """Parameters of ADMIT: the runs in the order in which they are to be admitted."""
    return {
        "term": leadership.term,
        "nonce": leadership.nonce,
        "instance_id": leadership.instance_id,
        "number": number,
        "run_ids": [one.run.run_id for one in waiting],
        "job_ids": [one.run.job_id for one in waiting],
        "scheduled_fors": [one.run.scheduled_for for one in waiting],
        "keys": [one.limit.key for one in waiting],
        "limits": [one.limit.most for one in waiting],
        "every": [one.limit.rate and one.limit.rate.every_seconds for one in waiting],
        "bursts": [one.limit.rate and float(one.limit.rate.per_seconds) for one in waiting],
    }
