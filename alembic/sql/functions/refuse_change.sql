CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        MESSAGE = concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME, ' is append-only: ', TG_OP, ' is refused'),
        ERRCODE = 'insufficient_privilege', HINT = 'docs/audit-log.md says how its owner removes old entries';
END
$$;

REVOKE ALL ON FUNCTION refuse_change() FROM PUBLIC;
