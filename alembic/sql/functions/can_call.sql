-- What a replica says of itself against what a job needs. It decides nothing: the replica itself looks the name up.
CREATE FUNCTION can_call(replica instances, callback text, application text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (application IS NULL OR application = replica.application) IS TRUE
       AND (callback = ANY (replica.callbacks)
            OR callback LIKE ANY (replica.allows)
            OR application IS NOT NULL
               AND split_part(split_part(callback, ':', 1), '.', 1) = ANY (replica.packages)) IS TRUE
$$;
