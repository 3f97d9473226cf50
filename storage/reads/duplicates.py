"""What in the record betrays that a callback was called more often than it should have been, or than its row says.

Each kind is a question of its own, on the views of `{schema}_audit`, over the same few sets:

    wanted    the runs that are asked about
    troubled  their attempts that are more than a run's one success: those that failed, were lost, or came too late

A retry after a recorded failure is no duplicate, nor is the next delivery of an `at_least_once` run whose owner died:
`runs` and `attempts` show both. The attempt of an owner that died ended some time before that was noticed, so `lost`
overlaps nothing; where the owner comes back and tells how that attempt ended, both rows are of one call.
"""

from __future__ import annotations

SETS = """
WITH troubled AS (
    SELECT * FROM {audit}.attempts
    WHERE (outcome <> 'succeeded' OR late)
      AND (CAST(:job_id AS text) IS NULL OR job_id = :job_id)
      AND (CAST(:since AS timestamptz) IS NULL OR scheduled_for >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR scheduled_for <= :until)
), wanted AS NOT MATERIALIZED (
    SELECT * FROM {audit}.runs
    WHERE (CAST(:job_id AS text) IS NULL OR job_id = :job_id)
      AND (CAST(:since AS timestamptz) IS NULL OR scheduled_for >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR scheduled_for <= :until)
), pairs AS (
    -- Two calls that both came to an end of their own.
    SELECT t.job_id, t.scheduled_for, CAST(t.run_id AS text) AS run_id, t.outcome, t.late, t.started_at, t.finished_at,
           a.outcome AS other_outcome, a.started_at AS other_started_at, a.finished_at AS other_finished_at,
           a.attempt = t.attempt AS is_same_number,
           a.attempt = t.attempt AND a.term = t.term AND a.instance_id = t.instance_id AS is_same_call
    FROM troubled t
    JOIN {audit}.attempts a ON a.job_id = t.job_id AND a.scheduled_for = t.scheduled_for
    WHERE (a.attempt, a.term, a.started_at, a.outcome) IS DISTINCT FROM (t.attempt, t.term, t.started_at, t.outcome)
      AND t.outcome <> 'lost' AND a.outcome <> 'lost'
), unknown_ends AS (
    SELECT DISTINCT job_id, scheduled_for FROM troubled WHERE outcome = 'lost' OR late
    UNION
    SELECT job_id, scheduled_for FROM wanted WHERE deliveries > 1
)
"""

# The columns of each: job_id, scheduled_for, run_id, executions.
KINDS: dict[str, tuple[str, str]] = {
    "two_rows": (
        "several rows stand for one occurrence",
        """
    SELECT job_id, scheduled_for, min(CAST(run_id AS text)) AS run_id, count(*) AS executions
    FROM wanted
    GROUP BY job_id, scheduled_for
    HAVING count(*) > 1
""",
    ),
    "beyond_policy": (
        "at_most_once, and executed again after an attempt whose end nobody knew",
        """
    SELECT r.job_id, r.scheduled_for, CAST(r.run_id AS text), greatest(e.executions, r.deliveries)
    FROM unknown_ends u
    JOIN wanted r ON r.job_id = u.job_id AND r.scheduled_for = u.scheduled_for
    JOIN {audit}.job_changes c ON c.job_id = r.job_id AND c.version = r.definition_version
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT (a.attempt, a.term)) AS executions FROM {audit}.attempts a
        WHERE a.job_id = r.job_id AND a.scheduled_for = r.scheduled_for
    ) AS e
    WHERE c.new ->> 'delivery' = 'at_most_once' AND (e.executions > 1 OR r.deliveries > 1)
""",
    ),
    "overlapping": (
        "attempts of one run executed at the same time",
        """
    SELECT t.job_id, t.scheduled_for, min(CAST(t.run_id AS text)),
           count(DISTINCT (t.attempt, t.term)) + count(DISTINCT (a.attempt, a.term))
               FILTER (WHERE a.outcome = 'succeeded' AND NOT a.late)
    FROM troubled t
    JOIN {audit}.attempts a ON a.job_id = t.job_id AND a.scheduled_for = t.scheduled_for
    WHERE (a.attempt, a.term, a.started_at) IS DISTINCT FROM (t.attempt, t.term, t.started_at)
      AND t.outcome <> 'lost' AND a.outcome <> 'lost'
      AND t.started_at < a.finished_at AND a.started_at < t.finished_at
    GROUP BY t.job_id, t.scheduled_for
""",
    ),
    "after_success": (
        "called again after an attempt that had succeeded, whose success came to the record too late",
        """
    SELECT job_id, scheduled_for, min(run_id), 1 + count(DISTINCT other_started_at)
    FROM pairs
    WHERE outcome = 'succeeded' AND late AND NOT is_same_call AND other_started_at >= finished_at
    GROUP BY job_id, scheduled_for
""",
    ),
    "after_end": (
        "called again after the run had ended",
        """
    SELECT r.job_id, r.scheduled_for, min(CAST(r.run_id AS text)), max(r.attempts) + count(DISTINCT t.started_at)
    FROM troubled t
    JOIN wanted r ON r.job_id = t.job_id AND r.scheduled_for = t.scheduled_for AND r.run_id = t.run_id
    WHERE t.started_at > r.finished_at
    GROUP BY r.job_id, r.scheduled_for
""",
    ),
    "same_attempt": (
        "two owners each made the same attempt, one after the other",
        """
    SELECT job_id, scheduled_for, min(run_id), 1 + count(DISTINCT other_started_at)
    FROM pairs
    WHERE is_same_number AND NOT is_same_call AND other_started_at >= finished_at
    GROUP BY job_id, scheduled_for
""",
    ),
    "two_ends": (
        "one attempt of one owner ended in two ways: it was made twice",
        """
    SELECT job_id, scheduled_for, min(run_id), count(DISTINCT other_outcome) + 1
    FROM pairs
    WHERE is_same_call AND other_outcome <> outcome
    GROUP BY job_id, scheduled_for
""",
    ),
    "beyond_retries": (
        "more attempts ended by themselves than any definition of the job allowed",
        """
    SELECT r.job_id, r.scheduled_for, CAST(r.run_id AS text), r.attempts
    FROM (SELECT DISTINCT job_id, scheduled_for FROM troubled) AS t
    JOIN wanted r ON r.job_id = t.job_id AND r.scheduled_for = t.scheduled_for
    CROSS JOIN LATERAL (
        SELECT max(CAST(c.new ->> 'max_retries' AS integer)) AS retries
        FROM {audit}.job_changes c WHERE c.job_id = r.job_id
    ) AS allowed
    WHERE r.attempts > allowed.retries + 1
""",
    ),
    # A second between the database's clock and that of whoever called is no call.
    "unended_start": (
        "begun once before the first attempt that the record knows the end of",
        """
    SELECT r.job_id, r.scheduled_for, CAST(r.run_id AS text), r.attempts + 1
    FROM wanted r
    JOIN {audit}.attempts a ON a.job_id = r.job_id AND a.scheduled_for = r.scheduled_for AND a.run_id = r.run_id
    GROUP BY r.job_id, r.scheduled_for, r.run_id, r.attempts, r.started_at
    HAVING min(a.started_at) > r.started_at + interval '1 s'
""",
    ),
}
"""By the kind's name: what it means, and the question."""


def _question(kind: str, detail: str, found: str) -> str:
    return (
        f"SELECT '{kind}' AS kind, job_id, scheduled_for, run_id, executions, '{detail}' AS detail\n"
        f"FROM ({found}) AS found (job_id, scheduled_for, run_id, executions)"
    )


DUPLICATES = (
    SETS
    + "\nUNION ALL\n".join(_question(kind, *question) for kind, question in KINDS.items())
    + "\nORDER BY scheduled_for DESC, job_id, kind\nLIMIT :limit\n"
)
