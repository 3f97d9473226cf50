-- Who leads, in one row. A leader that resigned has left no nonce; one that died is still named, and does not live.
CREATE VIEW current_leader AS
SELECT l.term, l.nonce, l.witnessed, l.acquired_at,
       CASE WHEN l.nonce IS NOT NULL THEN l.instance_id END AS instance_id, i.host, i.pid, i.zones,
       (l.nonce IS NOT NULL AND i.ended_at IS NULL AND {schema}.is_alive(i)) IS TRUE AS lives
FROM leader l LEFT JOIN instances i USING (instance_id);
