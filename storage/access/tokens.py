"""The table `api_tokens`: who may call the API. Only digests are stored; a secret is shown once, when it is made."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from scheduler_core.domain.access.access import SECRET_BYTES, TOKEN_PREFIX, Scope, Token, check_token, digest_of_secret
from scheduler_core.domain.errors import TokenExistsError, TokenNotFoundError
from scheduler_core.storage.postgres.database import Database, Row

COLUMNS = "token_id, name, scope, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at"

# Of several that ask for one name at once the unique index lets one through. A token that has expired does not keep
# its name: it is revoked with the statement that makes the next one; the update comes first, since the insert reads it.
FREE_EXPIRED = """
UPDATE {schema}.api_tokens SET revoked_at = expires_at, revoked_by = 'its expiry'
WHERE name = :name AND revoked_at IS NULL AND expires_at <= clock_timestamp()
"""

CREATE = f"""
INSERT INTO {{schema}}.api_tokens (token_id, name, scope, token_digest, created_by, expires_at)
VALUES (:token_id, :name, :scope, :digest, :created_by, clock_timestamp() + CAST(:lasts AS interval))
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING {COLUMNS}
"""

# One statement: from its end on no request gets in, and the token's sessions are gone.
REVOKE = f"""
WITH revoked AS (
    UPDATE {{schema}}.api_tokens SET revoked_at = clock_timestamp(), revoked_by = :by
    WHERE name = :name AND revoked_at IS NULL
    RETURNING {COLUMNS}
), ended AS (
    DELETE FROM {{schema}}.api_sessions WHERE token_id IN (SELECT token_id FROM revoked)
)
SELECT * FROM revoked
"""

LIST = f"""
SELECT {COLUMNS}, revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) AS stands
FROM {{schema}}.api_tokens
WHERE (:with_revoked OR revoked_at IS NULL)
  AND (CAST(:after AS uuid) IS NULL OR token_id > CAST(:after AS uuid))
ORDER BY token_id LIMIT :limit
"""

# When a token was used last is known to the minute: a request costs no write.
FIND = f"""
WITH found AS (
    SELECT {COLUMNS} FROM {{schema}}.api_tokens WHERE token_digest = :digest
), used AS (
    UPDATE {{schema}}.api_tokens t SET last_used_at = clock_timestamp()
    FROM found f
    WHERE t.token_id = f.token_id AND f.revoked_at IS NULL
      AND (f.last_used_at IS NULL OR f.last_used_at < clock_timestamp() - interval '1 minute')
)
SELECT *, clock_timestamp() AS now FROM found
"""


@dataclass(frozen=True, slots=True)
class TokenStore:
    """Tokens on one database."""

    database: Database

    async def create(self, name: str, scope: Scope, *, days: float | None, by: str) -> tuple[Token, str]:
        """Make a token.

        Parameters: days, how long it stands, None for ever; by, who makes it. Returns the token and its secret, which
        is not to be had again. Raises InvalidTokenError, TokenExistsError.
        """
        lasts = check_token(name, days)
        secret = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        await self.database.fetch(FREE_EXPIRED, {"name": name})
        row = await self.database.fetch_one(
            CREATE,
            {
                "token_id": UUID(bytes=secrets.token_bytes(16), version=4),
                "name": name,
                "scope": scope.value,
                "digest": digest_of_secret(secret),
                "created_by": by,
                "lasts": lasts,
            },
        )
        if row is None:
            raise TokenExistsError(
                f"there is a token {name!r} already: give another name, or `scheduler tokens revoke` it first"
            )
        return _token(row), secret

    async def revoke(self, name: str, *, by: str) -> Token:
        """End a token and its sessions at once. Raises TokenNotFoundError."""
        row = await self.database.fetch_one(REVOKE, {"name": name, "by": by})
        if row is None:
            raise TokenNotFoundError(
                f"there is no token {name!r} to revoke: `scheduler tokens list` shows those there are"
            )
        return _token(row)

    async def listed(
        self, *, with_revoked: bool = False, after: UUID | None = None, limit: int = 1_000
    ) -> list[dict[str, Any]]:
        """The tokens, without their secrets, and whether each stands."""
        rows = await self.database.fetch(LIST, {"with_revoked": with_revoked, "after": after, "limit": limit})
        return [dict(row) for row in rows]

    async def find(self, secret: str) -> Token | None:
        """The token with this secret, if it stands now by the database's clock."""
        row = await self.database.fetch_one(FIND, {"digest": digest_of_secret(secret)})
        if row is None:
            return None
        token = _token(row)
        return token if token.stands(row.now) else None


def _token(row: Row) -> Token:
    values = {name: row[name] for name in COLUMNS.split(", ")}
    return Token(**values | {"scope": Scope(row.scope)})
