CREATE TABLE clock (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version     bigint NOT NULL,
    database_at timestamptz NOT NULL,
    wall_at     timestamptz NOT NULL,
    boot        text NOT NULL,
    boottime    double precision NOT NULL,
    error       double precision NOT NULL,
    accepted_by text NOT NULL
);

COMMENT ON TABLE clock IS 'the reading of the database''s clock that planning last went by';
COMMENT ON COLUMN clock.version IS 'raised by each agreement of an operator';
COMMENT ON COLUMN clock.wall_at IS 'what the wall clock of the machine that took it showed at that moment';
COMMENT ON COLUMN clock.boottime IS 'seconds since that machine''s start, which boot names';
