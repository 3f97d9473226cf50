-- The leader's stands in its own row as well: whoever waits for its witness must not have to wait for `instances`.
CREATE FUNCTION register_leaders_pid() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.control_pid := CASE WHEN NEW.nonce IS NOT NULL AND NEW.witnessed THEN pg_backend_pid() END;
    RETURN NEW;
END
$$;

REVOKE ALL ON FUNCTION register_leaders_pid() FROM PUBLIC;
