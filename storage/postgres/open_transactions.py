"""What keeps dead rows from being cleaned away: transactions that stay open, and who holds them.

Each fire leaves dead versions of rows behind. As long as somebody may still see them, no vacuum removes them: tables
grow, and look-ups of single rows walk ever longer chains.
"""

from __future__ import annotations

LONG_SECONDS = 300.0
"""From here on the doctor speaks of it. A few minutes cost little."""

# `backend_xmin` is the oldest that a session still sees, `backend_xid` its own. Of other roles' sessions Postgres shows
# neither, unless this one has `pg_read_all_stats`. A prepared transaction has no session; a slot and a standby that
# tells what it sees (`hot_standby_feedback`) hold on to rows for as long as somebody elsewhere does; since when, nobody
# knows.
OPEN_TRANSACTIONS = """
SELECT 'open transaction' AS kind, 'session ' || a.pid AS subject, a.xact_start AS since,
       'of ' || coalesce(a.usename, 'nobody') || coalesce(' (' || nullif(a.application_name, '') || ')', '')
       || ' has a transaction open since ' || date_trunc('second', a.xact_start)
       || ', ' || coalesce(a.state, 'working') || ': it keeps every row that died since, and fires grow late by it. '
       || 'End it: SELECT pg_terminate_backend(' || a.pid || ')' AS detail
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
  AND a.xact_start < clock_timestamp() - make_interval(secs => :long)
UNION ALL
SELECT 'open transaction', 'prepared ' || p.gid, p.prepared,
       'was prepared by ' || p.owner || ' at ' || date_trunc('second', p.prepared) || ' and not ended since: it keeps '
       || 'every row that died since. End it: COMMIT PREPARED or ROLLBACK PREPARED ' || quote_literal(p.gid)
FROM pg_prepared_xacts p
WHERE p.database = current_database() AND p.prepared < clock_timestamp() - make_interval(secs => :long)
UNION ALL
SELECT 'open transaction', 'slot ' || s.slot_name, clock_timestamp(),
       'has seen nothing of the last ' || age(s.xmin) || ' transactions, and keeps every row that died since: is its '
       || 'standby there? If it will not come back: SELECT pg_drop_replication_slot('
       || quote_literal(s.slot_name) || ')'
FROM pg_replication_slots s
WHERE age(s.xmin) > 1000000
ORDER BY kind, subject
LIMIT 100
"""
