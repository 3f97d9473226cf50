"""The statements of the control session: terms, the leader's row, and the list of instances."""

from __future__ import annotations

LEADER = """
SELECT term, nonce, instance_id, witnessed, preferred_successor FROM {schema}.leader
"""


# Compare-and-swap from exactly the (term, nonce) that was read before the lease was taken: of several candidates
# one moves the row, the others find nothing. Terms only grow, also when an asynchronous standby took over that
# had not seen the last one: the lease carried it along, and proposes a number above it. Where somebody lowered the
# row by hand, the list of terms knows better: without it the number would be taken, and nobody could lead again.
CLAIM_TERM = """
WITH claimed AS (
    UPDATE {schema}.leader
    SET term = greatest(term + 1, $1::bigint, (SELECT max(term) + 1 FROM {schema}.leader_terms)),
        nonce = $2, instance_id = $3, witnessed = $4,
        acquired_at = clock_timestamp(), preferred_successor = NULL
    WHERE term = $5 AND nonce IS NOT DISTINCT FROM $6
    RETURNING term, acquired_at
), ended AS (
    UPDATE {schema}.leader_terms t
    SET ended_at = coalesce(t.ended_at, c.acquired_at - $8::interval), end_reason = coalesce(t.end_reason, $7)
    FROM claimed c
    WHERE t.term = $5
    RETURNING t.ended_at
)
INSERT INTO {schema}.leader_terms (term, instance_id, host, acquired_at, leaderless_for)
SELECT c.term, $3, $9, c.acquired_at, c.acquired_at - (SELECT ended_at FROM ended) FROM claimed c
RETURNING term
"""


RECLAIM = """
UPDATE {schema}.leader SET nonce = $3, witnessed = $4
WHERE term = $1 AND nonce IN ($2, $3)
RETURNING term
"""


# Nothing is written: whoever has the table of replicas locked deposes nobody. A session that can only read is with a
# server that is no primary any more, or takes no writes: no term stands there.
CONFIRM = """
SELECT EXISTS (SELECT FROM {schema}.leader WHERE term = $1 AND nonce = $2) AS stands,
       pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS only_reads
"""


# For people, and not worth a wait: somebody may have the table locked. The time-out is caught here, so that the
# server's log stays quiet, and ends with the transaction. A block takes no parameters: the id comes as the digits of
# its bytes.
SEEN = """
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '20ms', true);
    UPDATE {schema}.instances SET last_seen = clock_timestamp()
    WHERE instance_id = convert_from(decode('{instance}', 'hex'), 'UTF8');
EXCEPTION WHEN lock_not_available THEN
    NULL;
END
$$
"""


LAST_SEEN = """
SELECT extract(epoch FROM clock_timestamp() - last_seen)::float8 FROM {schema}.instances WHERE instance_id = $1
"""


RESIGN = """
WITH freed AS (
    UPDATE {schema}.leader SET nonce = NULL, witnessed = false, preferred_successor = $4
    WHERE term = $1 AND nonce = $2
    RETURNING term
)
UPDATE {schema}.leader_terms t SET ended_at = clock_timestamp(), end_reason = $3
FROM freed WHERE t.term = freed.term AND t.ended_at IS NULL
"""


REGISTER = """
INSERT INTO {schema}.instances (instance_id, instance_name, host, pid, version, eligible, callbacks,
                                started_at, last_seen, life_key, application, packages, allows,
                                executes, slots)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp(), clock_timestamp(), $8, $9, $10, $11, $12, $13)
ON CONFLICT (instance_id) DO UPDATE
SET callbacks = excluded.callbacks, eligible = excluded.eligible, last_seen = excluded.last_seen,
    life_key = excluded.life_key, ended_at = NULL, application = excluded.application,
    packages = excluded.packages, allows = excluded.allows, executes = excluded.executes, slots = excluded.slots
RETURNING started_at
"""


FORGET_OLD = """
DELETE FROM {schema}.instances
WHERE last_seen < clock_timestamp() - interval '7 days' AND instance_id <> $1
"""


# Whoever has had the leader's row in a transaction for longer than any candidate may wait for it. Candidates wait at
# most `lock_timeout`, and so are never among them.
EVICT = """
SELECT array_agg(DISTINCT a.pid) FILTER (WHERE pg_terminate_backend(a.pid))
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation = CAST('{schema}.leader' AS regclass) AND l.granted AND l.mode <> 'AccessShareLock'
  AND a.pid <> pg_backend_pid() AND a.xact_start < clock_timestamp() - $1::interval
"""


MARK_RUNNING = """
UPDATE {schema}.runs r
SET status = 'running', reason = NULL, started_at = coalesce(r.started_at, b.started_at),
    attempt_started_at = b.attempt_started_at
FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
     AS b (run_id, scheduled_for, started_at, attempt_started_at)
WHERE r.run_id = b.run_id AND r.scheduled_for = b.scheduled_for AND r.instance_id = $1
  AND r.status IN {waiting}
"""


DEPART = """
UPDATE {schema}.instances SET ended_at = clock_timestamp(), last_seen = clock_timestamp() WHERE instance_id = $1
"""
