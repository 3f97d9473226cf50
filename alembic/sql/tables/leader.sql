CREATE TABLE leader (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    installation uuid NOT NULL DEFAULT gen_random_uuid(),
    term         bigint NOT NULL,
    nonce        text,
    control_pid  integer,
    instance_id  text,
    witnessed    boolean NOT NULL DEFAULT false,
    acquired_at  timestamptz,
    preferred_successor         text
);

COMMENT ON COLUMN leader.installation IS 'names this schema among all others; a copy of the database bears it too';
COMMENT ON COLUMN leader.nonce IS 'names the leadership witness; NULL: the last leader resigned';
COMMENT ON COLUMN leader.control_pid IS 'the server process that holds the witness of nonce; NULL: any that holds it';
COMMENT ON COLUMN leader.preferred_successor IS 'the replica in whose favour the last leader resigned';

INSERT INTO leader (term) VALUES (0);
