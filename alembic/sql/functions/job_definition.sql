CREATE FUNCTION job_definition(document jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT document - ARRAY['paused_at', 'paused_until', 'paused_by', 'pause_note', 'auto_disabled_at']
$$;
