CREATE TABLE leader_terms (
    term                bigint PRIMARY KEY,
    instance_id         text NOT NULL,
    host                text NOT NULL,
    acquired_at         timestamptz NOT NULL,
    ended_at            timestamptz,
    end_reason          text,
    leaderless_for      interval,
    resign_requested_at timestamptz,
    resign_requested_by text
);

COMMENT ON COLUMN leader_terms.resign_requested_by IS 'who asked the leader of this term to resign; NULL: nobody';
