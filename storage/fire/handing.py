"""Attempts that workers make: taken by a ticket, and taken back from the dead."""

from __future__ import annotations

from typing import Any

from scheduler_core.domain.runs.ticket import Ticket

# The worker owns the run from here on, as a replica owns what it has begun: its life witness keeps the run, its outcome
# is guarded by its name, and its death is found by recovery. One row in one statement, so that of two workers with the
# same ticket the second finds it taken, and so that nothing else is locked while it waits. A term of adoption that is
# not the ticket's means that a successor has the run in flight. A worker whose answer got lost finds its own name.
TAKE = """
UPDATE {schema}.runs r
SET status = 'running', reason = NULL, instance_id = :instance_id, next_attempt_at = NULL,
    started_at = coalesce(r.started_at, clock_timestamp()), attempt_started_at = clock_timestamp()
WHERE r.run_id = :run_id AND r.term = :term AND r.attempt = :attempt - 1
  AND r.status IN {unfinished}
  AND (r.status <> 'running' OR r.instance_id = :instance_id)
RETURNING r.run_id, r.job_id, r.scheduled_for, r.due_at, r.origin, r.term, r.definition_version, r.attempt,
          r.deliveries, r.status, coalesce(r.orphaned, 0) AS orphaned, r.next_attempt_at, false AS waits_for_ever
"""

# Of a worker that is known to be dead, and only by the leader of the same term: whoever adopted the run meanwhile has
# another. `old` is the row as it was: whether the attempt had been begun. Locked first, so that it still is.
TAKE_BACK = """
WITH old AS (
    SELECT run_id, job_id, scheduled_for, status FROM {schema}.runs
    WHERE run_id = :run_id AND term = :term AND attempt = :attempt - 1
      AND status IN {unfinished}
      AND (instance_id = :instance_id OR instance_id = :dead_instance OR status = 'retrying')
    FOR UPDATE
)
UPDATE {schema}.runs r SET instance_id = :instance_id
FROM old
WHERE r.run_id = old.run_id AND r.job_id = old.job_id AND r.scheduled_for = old.scheduled_for
RETURNING old.status
"""


def ticket_parameters(ticket: Ticket) -> dict[str, Any]:
    """What both statements find the run by."""
    return {"run_id": ticket.run_id, "attempt": ticket.attempt, "term": ticket.term}
