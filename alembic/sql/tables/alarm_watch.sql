CREATE TABLE alarm_watch (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version        bigint NOT NULL,
    looked_at      timestamptz NOT NULL,
    looked_by      text NOT NULL,
    term           bigint NOT NULL,
    notifies_until timestamptz,
    dropped        bigint NOT NULL DEFAULT 0
);

COMMENT ON COLUMN alarm_watch.version IS 'of several replicas that look at once, one raises it and wins';
COMMENT ON COLUMN alarm_watch.term IS 'terms up to it are told';
COMMENT ON COLUMN alarm_watch.notifies_until IS 'until then some replica is believed to deliver notifications';
COMMENT ON COLUMN alarm_watch.dropped IS 'notifications for which the outbox had no room';
