"""The table `idempotency_keys`: what was answered to a request that its sender may repeat.

A key is claimed before the work begins, with the id of the run that the work will make. Whoever died in between
leaves the claim; after `UNANSWERED_SECONDS`, when no statement of theirs can come any more, the same request takes it
over, and finds by that id whether the work was done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scheduler_core.domain.access.idempotency import KeptAnswer, KeyClaim
from scheduler_core.storage.postgres.database import COMMAND_TIMEOUT_SECONDS, GIVE_BACK_SECONDS, Database, Row
from scheduler_core.storage.postgres.keys import new_run_id

KEPT_SECONDS = 24 * 3600.0
UNANSWERED_SECONDS = 2 * (COMMAND_TIMEOUT_SECONDS + GIVE_BACK_SECONDS)

# In small bites: a day of keys must not keep one request waiting.
FORGET = """
DELETE FROM {schema}.idempotency_keys WHERE (token_id, key) IN (
    SELECT token_id, key FROM {schema}.idempotency_keys
    WHERE claimed_at < clock_timestamp() - make_interval(secs => :kept_seconds)
    ORDER BY claimed_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""

# The primary key lets one of several at once through; the row's lock, one of those who take an old claim over.
CLAIM = """
INSERT INTO {schema}.idempotency_keys AS k (token_id, key, request_digest, run_id)
VALUES (:token_id, :key, :digest, :run_id)
ON CONFLICT (token_id, key) DO UPDATE SET claimed_at = clock_timestamp()
WHERE k.status IS NULL AND k.request_digest = excluded.request_digest
  AND k.claimed_at < clock_timestamp() - make_interval(secs => :unanswered_seconds)
RETURNING run_id, run_id <> :run_id AS is_taken_over, claimed_at
"""

FIND = """
SELECT request_digest, status, answer FROM {schema}.idempotency_keys WHERE token_id = :token_id AND key = :key
"""

# Only by whoever holds the claim still: one that was taken over is answered by its successor.
ANSWER = """
UPDATE {schema}.idempotency_keys SET status = :status, answer = CAST(:answer AS jsonb)
WHERE token_id = :token_id AND key = :key AND claimed_at = :claimed_at AND status IS NULL
"""

RELEASE = """
DELETE FROM {schema}.idempotency_keys
WHERE token_id = :token_id AND key = :key AND claimed_at = :claimed_at AND status IS NULL
"""


@dataclass(frozen=True, slots=True)
class IdempotencyStore:
    """Keys on one database."""

    database: Database

    async def claim(self, token_id: UUID, key: str, request_digest: bytes) -> KeyClaim | KeptAnswer:
        """Claim a key for a request, or find what stands there."""
        await self.database.fetch(FORGET, {"kept_seconds": KEPT_SECONDS})
        parameters = {
            "token_id": token_id,
            "key": key,
            "digest": request_digest,
            "run_id": new_run_id(datetime.now(UTC)),
            "unanswered_seconds": UNANSWERED_SECONDS,
        }
        claimed = await self.database.fetch_one(CLAIM, parameters)
        if claimed is not None:
            return KeyClaim(token_id, key, claimed.run_id, claimed.is_taken_over, claimed.claimed_at)
        row = await self.database.fetch_one(FIND, {"token_id": token_id, "key": key})
        # Given back in between: whoever had it failed, and the sender may try again.
        return KeptAnswer(True, None, None, UNANSWERED_SECONDS) if row is None else _kept(row, request_digest)

    async def answered(self, claim: KeyClaim, status: int, answer: Any) -> None:
        """Keep what was answered, for whoever repeats the request within a day."""
        document = json.dumps(answer, ensure_ascii=False)
        await self.database.fetch(ANSWER, {**_of(claim), "status": status, "answer": document})

    async def release(self, claim: KeyClaim) -> None:
        """Give the key back: the work was refused, and nothing was done."""
        await self.database.fetch(RELEASE, _of(claim))


def _kept(row: Row, request_digest: bytes) -> KeptAnswer:
    return KeptAnswer(bytes(row.request_digest) == request_digest, row.status, row.answer, UNANSWERED_SECONDS)


def _of(claim: KeyClaim) -> dict[str, Any]:
    return {"token_id": claim.token_id, "key": claim.key, "claimed_at": claim.claimed_at}
