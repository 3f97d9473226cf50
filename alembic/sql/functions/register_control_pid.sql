-- Which session holds a replica's witnesses: said by a trigger, so that whatever statement registers it says it too.
CREATE FUNCTION register_control_pid() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.control_pid := CASE WHEN NEW.life_key IS NOT NULL THEN pg_backend_pid() END;
    RETURN NEW;
END
$$;

REVOKE ALL ON FUNCTION register_control_pid() FROM PUBLIC;
