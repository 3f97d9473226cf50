"""The table `api_sessions`: browsers that signed in with a token. A session never outlives its token."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from scheduler_core.domain.access.access import SECRET_BYTES, OpenedSession, Scope, Token, digest_of_secret
from scheduler_core.storage.access.tokens import COLUMNS
from scheduler_core.storage.postgres.database import Database

# Sessions past their time go with the next one that begins.
OPEN = """
WITH gone AS (
    DELETE FROM {schema}.api_sessions WHERE expires_at <= clock_timestamp()
)
INSERT INTO {schema}.api_sessions (session_digest, token_id, expires_at)
SELECT :digest, token_id,
       least(clock_timestamp() + make_interval(secs => :seconds), coalesce(expires_at, 'infinity'))
FROM {schema}.api_tokens
WHERE token_id = :token_id AND revoked_at IS NULL
RETURNING expires_at
"""

FIND = f"""
SELECT {", ".join(f"t.{name}" for name in COLUMNS.split(", "))}, clock_timestamp() AS now
FROM {{schema}}.api_sessions s JOIN {{schema}}.api_tokens t USING (token_id)
WHERE s.session_digest = :digest AND s.expires_at > clock_timestamp()
"""

CLOSE = """
DELETE FROM {schema}.api_sessions WHERE session_digest = :digest
"""


@dataclass(frozen=True, slots=True)
class SessionStore:
    """Sessions on one database."""

    database: Database

    async def open(self, token: Token, *, seconds: float) -> OpenedSession | None:
        """Begin a session for whoever holds this token; None if it was revoked meanwhile.

        Parameters: seconds, how long it lasts at most; it ends with its token in any case.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        row = await self.database.fetch_one(
            OPEN, {"digest": digest_of_secret(secret), "token_id": token.token_id, "seconds": seconds}
        )
        return None if row is None else OpenedSession(secret, row.expires_at)

    async def find(self, secret: str) -> Token | None:
        """The token behind a session, if both stand now by the database's clock."""
        row = await self.database.fetch_one(FIND, {"digest": digest_of_secret(secret)})
        if row is None:
            return None
        values = {name: row[name] for name in COLUMNS.split(", ")}
        token = Token(**values | {"scope": Scope(row.scope)})
        return token if token.stands(row.now) else None

    async def close(self, secret: str) -> None:
        """End a session; harmless for one that has ended."""
        await self.database.fetch(CLOSE, {"digest": digest_of_secret(secret)})
