"""The outbox: notifications that wait to be delivered, and those that were. Any replica with a webhook empties it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from scheduler_core.domain.alerts.alarm import Notification
from scheduler_core.domain.alerts.webhook import GIVE_UP_AFTER, Verdict
from scheduler_core.ports.alerts import Message
from scheduler_core.storage.postgres.database import Database

# In the order in which things happened: a recovery must not overtake its failure. So the oldest that waits is next, and
# while it is being sent, or waits to be tried again, all others wait behind it; only what the receiver refuses steps
# aside. The claim is a lease and no lock: no transaction stays open while a receiver thinks. It lasts longer than an
# attempt can, so that nobody sends what another is sending. Of two replicas that claim at once, one skips the row
# that the other has locked, and looked at again once locked, a row that was claimed meanwhile is not due any more.
# Nothing waits for longer than two minutes: what seems to was put off by a clock that has gone back since.
CLAIM = """
WITH oldest AS (
    SELECT n.notification_id FROM {schema}.notifications n
    WHERE n.delivered_at IS NULL AND n.given_up_at IS NULL
      AND (n.next_attempt_at <= clock_timestamp() OR n.next_attempt_at > clock_timestamp() + interval '10 min')
      AND NOT EXISTS (SELECT FROM {schema}.notifications e
                      WHERE e.delivered_at IS NULL AND e.given_up_at IS NULL AND NOT e.refused
                        AND e.notification_id < n.notification_id)
    ORDER BY n.refused, n.notification_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.notifications n
SET attempts = attempts + 1, claimed_by = :instance_id,
    next_attempt_at = clock_timestamp() + make_interval(secs => :lease)
FROM oldest
WHERE n.notification_id = oldest.notification_id
RETURNING n.notification_id, n.message_id, n.event, n.body, n.attempts, clock_timestamp() - n.created_at AS age
"""

# Guarded by the attempt: whoever was given up for dead meanwhile says nothing about somebody else's attempt, except
# that it got through.
SETTLE = """
UPDATE {schema}.notifications
SET delivered_at = CASE WHEN :delivered THEN clock_timestamp() END,
    given_up_at = CASE WHEN :given_up THEN clock_timestamp() END,
    next_attempt_at = clock_timestamp() + make_interval(secs => :retry),
    refused = :refused, last_error = :error
WHERE notification_id = :notification_id AND delivered_at IS NULL
  AND (attempts = :attempts AND claimed_by = :instance_id OR :delivered)
RETURNING notification_id
"""

QUEUE = """
INSERT INTO {schema}.notifications (event, body) VALUES (:event, CAST(:body AS jsonb)) RETURNING notification_id
"""

# What nobody could deliver in time, also where nobody tries any more; and what ended a while ago.
TIDY = """
WITH expired AS (
    UPDATE {schema}.notifications SET given_up_at = clock_timestamp()
    WHERE delivered_at IS NULL AND given_up_at IS NULL AND next_attempt_at < clock_timestamp()
      AND created_at < clock_timestamp() - CAST(:expires_after AS interval)
    RETURNING notification_id
), forgotten AS (
    DELETE FROM {schema}.notifications WHERE notification_id IN (
        SELECT notification_id FROM {schema}.notifications
        WHERE (delivered_at IS NOT NULL OR given_up_at IS NOT NULL)
          AND created_at < clock_timestamp() - CAST(:kept AS interval)
        ORDER BY created_at LIMIT 1000)
    RETURNING notification_id
)
SELECT (SELECT count(*) FROM expired) AS expired, (SELECT count(*) FROM forgotten) AS forgotten
"""

LIST = """
SELECT notification_id, message_id, event, body ->> 'text' AS text, created_at, attempts, next_attempt_at, refused,
       last_error, claimed_by, delivered_at, given_up_at,
       CASE WHEN delivered_at IS NOT NULL THEN 'delivered' WHEN given_up_at IS NOT NULL THEN 'given up'
            WHEN refused THEN 'refused' ELSE 'waiting' END AS state
FROM {schema}.notifications
WHERE (CAST(:notification_id AS bigint) IS NULL OR notification_id = :notification_id)
  AND (CAST(:before AS bigint) IS NULL OR notification_id < :before)
ORDER BY notification_id DESC
LIMIT :limit
"""

KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Outbox:
    """Notifications on one database.

    Parameters: instance_id, who delivers.
    """

    database: Database
    instance_id: str

    async def claim(self, *, lease_seconds: float) -> Message | None:
        """The next message that is to be sent, which is this replica's for `lease_seconds`; None if there is none."""
        row = await self.database.fetch_one(CLAIM, {"instance_id": self.instance_id, "lease": lease_seconds})
        return None if row is None else Message(**row)

    async def settle(self, message: Message, verdict: Verdict, error: str | None) -> bool:
        """Store how an attempt ended; False if another replica has the message by now."""
        parameters = {
            "notification_id": message.notification_id,
            "attempts": message.attempts,
            "instance_id": self.instance_id,
            "delivered": verdict.delivered,
            "given_up": verdict.given_up,
            "retry": verdict.retry_seconds,
            "refused": verdict.refused,
            "error": error,
        }
        return bool(await self.database.fetch(SETTLE, parameters))

    async def queue(self, notification: Notification) -> int:
        """Have a message delivered by whichever replica does; returns its number."""
        body = json.dumps(notification.body(), ensure_ascii=False)
        row = await self.database.fetch_one(QUEUE, {"event": notification.event.value, "body": body})
        assert row is not None
        return int(row.notification_id)

    async def tidy(self) -> int:
        """Give up what waited for too long, delete what ended long ago; returns how many were given up."""
        row = await self.database.fetch_one(TIDY, {"expires_after": GIVE_UP_AFTER, "kept": KEPT})
        assert row is not None
        return int(row.expired)

    async def listed(self, *, before: int | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Messages, the latest first; with `before`, those before that number."""
        parameters = {"notification_id": None, "before": before, "limit": limit}
        return [dict(row) for row in await self.database.fetch(LIST, parameters)]

    async def find(self, notification_id: int) -> Mapping[str, Any] | None:
        """One message; None once it is forgotten."""
        row = await self.database.fetch_one(LIST, {"notification_id": notification_id, "before": None, "limit": 1})
        return None if row is None else dict(row)
