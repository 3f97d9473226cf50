CREATE TABLE instances (
    instance_id   text PRIMARY KEY,
    instance_name text NOT NULL,
    host          text NOT NULL,
    pid           integer NOT NULL,
    version       text NOT NULL,
    eligible      boolean NOT NULL,
    -- what it can call
    application   text,
    callbacks     text[] NOT NULL DEFAULT '{}',
    packages      text[],
    allows        text[],
    -- what it executes
    executes      text[],
    slots         integer,
    -- whether it lives
    started_at    timestamptz NOT NULL,
    last_seen     timestamptz NOT NULL,
    ended_at      timestamptz,
    life_key      bigint,
    control_pid   integer,
    -- what it knows of time
    zone_release  text,
    zones         text[],
    boot          text,
    clock_ahead   double precision
);

COMMENT ON COLUMN instances.application IS 'whose jobs it calls';
COMMENT ON COLUMN instances.packages IS 'the top-level packages whose own functions it calls for its code''s jobs';
COMMENT ON COLUMN instances.allows IS 'allowed_callbacks, as LIKE has them';
COMMENT ON COLUMN instances.executes IS 'the executors whose offered runs it takes; NULL: none';
COMMENT ON COLUMN instances.slots IS 'how many callbacks of each it executes at once';
COMMENT ON COLUMN instances.life_key IS 'advisory lock that is held while the process lives; NULL: not witnessed';
COMMENT ON COLUMN instances.control_pid IS 'the server process that holds life_key; NULL: any that holds it';
COMMENT ON COLUMN instances.zone_release IS 'the release of the time zone data that it goes by; NULL: it has not said';
COMMENT ON COLUMN instances.zones IS 'the time zones that it knows; NULL: it has not said';
COMMENT ON COLUMN instances.boot IS 'names the last start of its machine';
COMMENT ON COLUMN instances.clock_ahead IS 'the database''s clock minus its machine''s, in seconds';
