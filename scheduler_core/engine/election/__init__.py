"""Who leads, and for how long that may be believed.

Two authorities. A lease in Redis chooses quickly; a numbered term in Postgres decides. A lease can be lost, expire
under a paused process or be held twice after a failover of Redis, so it only elects: every write that schedules carries
its term, and Postgres refuses a stale one. Because the fence makes a false alarm harmless to the record, a mere hint of
the leader's death is enough to take over, and that is why it can be fast.

The hint is a *witness*: an advisory lock on the leader's own session with Postgres, which falls within milliseconds
when the process dies. A stopped or cut-off process keeps it; then the beats tell that stay away from its lease, for
longer than was measured of its pauses (`domain.suspicion`). Absence of the lease proves nothing by itself (FLUSHALL),
and an error is not a death certificate.

A replica is in one state at a time:

FOLLOWING  Wait until the witness of the current nonce falls, or the lease has been silent for too long. A witness that
           fell because Postgres itself restarted counts only together with a silent lease: `vacancy_watch`.
CANDIDATE   Take the lease: free, or still carrying the dead leader's token (compare-and-swap). Then take the leadership
           witness under a fresh nonce, and move the leader's row from exactly the (term, nonce) read before. Of several
           candidates one moves it. A lost reply is read again: `elector`.
LEADING    Ten beats a second renew the lease and confirm the term, as long as the scheduler's loop moves. The trust
           window ends a margin before a TTL after the last good beat was *sent*. Every start of a run asks the window.
           Under `hold` only an ended term deposes, whatever Redis says or does not say: `domain.trust.judge`.
RECLAIMING The control session is gone (Postgres restarted, connection cut). Nothing is claimed. For one TTL the replica
           tries to sit down again on the same term with a new nonce; if somebody took it, it follows.
RESIGNING  The scheduler has handed back what had not started. End the term, release lease and leadership witness: a
           successor leads now, while running work drains here under the life witness. A leader that lacks a due job's
           callback resigns in favour of a replica that has it; the others let that one go first for a beat.

All this happens in a thread with an event loop of its own, so that a callback that blocks the scheduler's loop makes
fires late and deposes nobody. A loop that has not moved for `stall_timeout` is another matter: then the elector stops
renewing on purpose. What the scheduler may know of it, it publishes (`trust_window`), and what it must know of the
scheduler is published to it (`exchange`): neither thread asks the other and waits.
"""
