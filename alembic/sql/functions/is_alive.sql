-- Whether a replica's process lives: the one notion of it. Its witness falls with its session, at once; where there is
-- none, as behind a pooler, it is believed for half a minute. The witness outranks what the row says of an end.
CREATE FUNCTION is_alive(replica instances) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN replica.life_key IS NOT NULL THEN {schema}.witness_held(replica.life_key)
                ELSE replica.ended_at IS NULL AND replica.last_seen > clock_timestamp() - interval '30 s' END
$$;
