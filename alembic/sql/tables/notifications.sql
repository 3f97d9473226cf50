CREATE TABLE notifications (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id      uuid NOT NULL DEFAULT gen_random_uuid(),
    event           text NOT NULL,
    body            jsonb NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    refused         boolean NOT NULL DEFAULT false,
    claimed_by      text,
    last_error      text,
    delivered_at    timestamptz,
    given_up_at     timestamptz
);

COMMENT ON COLUMN notifications.message_id IS
    'the same for every attempt: by it a receiver knows one that comes twice';
COMMENT ON COLUMN notifications.refused IS 'the receiver will not have it; those behind it need not wait';

CREATE INDEX notifications_waiting ON notifications (notification_id)
    WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX notifications_ended ON notifications (created_at)
    WHERE delivered_at IS NOT NULL OR given_up_at IS NOT NULL;
