CREATE TABLE clock_holds (
    hold_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version     bigint NOT NULL,
    expected_at timestamptz NOT NULL,
    database_at timestamptz NOT NULL,
    wall_at     timestamptz NOT NULL,
    boot        text NOT NULL,
    boottime    double precision NOT NULL,
    error       double precision NOT NULL,
    evidence    text NOT NULL,
    term        bigint NOT NULL,
    instance_id text NOT NULL,
    told        boolean NOT NULL DEFAULT false,
    ended_at    timestamptz,
    ended_why   text
);

COMMENT ON TABLE clock_holds IS 'why planning stopped: readings of the database''s clock that were not believed';
COMMENT ON COLUMN clock_holds.version IS 'of clock, at that moment';
COMMENT ON COLUMN clock_holds.expected_at IS 'what the clock should have shown';
COMMENT ON COLUMN clock_holds.told IS 'an alarm was raised for it';

CREATE UNIQUE INDEX clock_holds_open ON clock_holds (version) WHERE ended_at IS NULL;
CREATE INDEX clock_holds_untold ON clock_holds (hold_id) WHERE NOT told;
