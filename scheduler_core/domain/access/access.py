"""Who may do what: scopes, and whether a token still stands. Pure; storage keeps the hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from scheduler_core.domain.errors import InvalidTokenError
from scheduler_core.domain.jobs.fields import check_name

MOST_TOKEN_DAYS = 3_650.0
DEFAULT_TOKEN_DAYS = 90.0

TOKEN_PREFIX = "sched_"  # noqa: S105 - what tokens begin with, so that scanners of repositories know one
SECRET_BYTES = 32


class Scope(StrEnum):
    """What a token allows; each scope includes those before it."""

    VIEWER = "viewer"
    """Reads everything, changes nothing."""
    OPERATOR = "operator"
    """Also changes jobs, runs and calendars, and asks the leader to resign."""
    ADMIN = "admin"
    """Also makes and revokes tokens."""

    def includes(self, needed: Scope) -> bool:
        """Whether this scope allows what `needed` allows."""
        return _RANK[self] >= _RANK[needed]


_RANK = {scope: rank for rank, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is stored, without its secret, which nobody but its holder knows."""

    token_id: UUID
    name: str
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None

    def stands(self, now: datetime) -> bool:
        """Whether it opens anything at `now`, an aware instant: neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def digest_of_secret(secret: str) -> bytes:
    """What is stored of a token or a session. Their 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def csrf_token_of(session_secret: str) -> str:
    """The token that a page of this session carries; the session's secret can't be worked out from it."""
    return hashlib.sha256(b"csrf " + session_secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_token(name: str, days: float | None) -> timedelta | None:
    """How long a token under this name is to last; None for ever.

    Parameters: days, None for ever. Raises InvalidTokenError.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise InvalidTokenError(f"the token's name {error}") from None
    if days is None:
        return None
    if not 0 < days <= MOST_TOKEN_DAYS:
        raise InvalidTokenError(f"a token can't last {days:g} days: give more than 0, and at most {MOST_TOKEN_DAYS:g}")
    return timedelta(days=days)


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session that just began: its secret goes into the cookie and nowhere else."""

    secret: str
    expires_at: datetime
