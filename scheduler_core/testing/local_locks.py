"""Distributed locks of a world that is one process."""

from __future__ import annotations

from typing import Any


class LocalLocks:
    """A lock service (`acquire`, `renew`, `release`) in memory. Its locks don't expire: nobody dies here."""

    def __init__(self) -> None:
        self._held: dict[str, object] = {}

    async def acquire(self, key: str, ttl: float) -> Any:
        """A token, or None while somebody holds the lock."""
        if key in self._held:
            return None
        token = self._held[key] = object()
        return token

    async def renew(self, key: str, token: Any, ttl: float) -> bool:
        """Whether the lock is still held under this token."""
        return self._held.get(key) is token

    async def release(self, key: str, token: Any) -> bool:
        """Give it back; False if it is not held under this token."""
        if self._held.get(key) is not token:
            return False
        del self._held[key]
        return True
