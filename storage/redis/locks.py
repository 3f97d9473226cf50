"""Distributed locks in Redis, for jobs and for users.

A lock is a key that carries its holder's token and a TTL. Whoever holds it for longer than the TTL renews it;
`hold` does so by itself (ShedLock #9, #606: locks that expire mid-job).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scheduler_core.domain.errors import InvalidSettingsError, LockLostError, ServerUnreachableError
from scheduler_core.runtime.loop_affinity import Elsewhere, LoopAffinity
from scheduler_core.runtime.task_ends import end_tasks
from scheduler_core.storage.redis.answers import CLIENT_ERRORS, meaning
from scheduler_core.storage.redis.leases import answered

# Locks: a plain string key. ARGV: token, TTL in ms, a run's lock prefix that may be taken over or '', tokens of ours
# that nobody holds.
_LOCK = """
local held = redis.call('GET', KEYS[1])
local inherited = held and ARGV[3] ~= '' and string.sub(held, 1, string.len(ARGV[3])) == ARGV[3]
local abandoned = held and string.find(ARGV[4], held, 1, true)
if held and held ~= ARGV[1] and not inherited and not abandoned then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_RENEW_LOCK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
"""

_UNLOCK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

_LOOK = """
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
"""

CALL_TIMEOUT_SECONDS = 2.0

MAX_ABANDONED_PER_KEY = 8


REMEDIES = dict.fromkeys(
    Elsewhere, "Make a LockService here, with a client of this event loop's own, or call it where that client lives"
)


class LockService:
    """Locks that only their holder can renew or release.

    A `ttl` is in seconds, and above 0; a key is any text that is not empty.

    Args:
        redis: A `redis.asyncio` client of yours; it stays yours to close.
        prefix: Put before each key.

    Raises:
        InvalidSettingsError: `redis` is no such client.
    """

    def __init__(self, redis: Any, *, prefix: str = "scheduler:lock:") -> None:
        if not callable(getattr(redis, "eval", None)):
            raise InvalidSettingsError(
                "LockService needs a redis.asyncio client: LockService(redis.asyncio.Redis.from_url(...))"
            )
        self._redis = redis
        self._prefix = prefix
        self._home = LoopAffinity("a redis.asyncio client", REMEDIES)
        self._abandoned: dict[str, deque[str]] = {}
        """Tokens of calls that were never answered: Redis may hold them, and nobody here does."""

    async def acquire(self, key: str, ttl: float) -> str | None:
        """Take the lock if it is free.

        Args:
            key: Which lock.
            ttl: After how many seconds it ends by itself, unless it is renewed.

        Returns:
            The token to renew and release it with; None while somebody else holds it.

        Raises:
            ServerUnreachableError: Redis can't be asked. Then nobody knows, and the lock must not be assumed.
            InvalidSettingsError: The key is empty, or `ttl` is no number of seconds above 0.
            WrongLoopError: The client lives in another event loop.
        """
        return await self.acquire_for(key, ttl, owner=None)

    async def acquire_for(self, key: str, ttl: float, owner: str | None) -> str | None:
        """Like `acquire`; a lock that the same owner holds, say a run whose replica died, is taken over.

        Args:
            key: Which lock.
            ttl: After how many seconds it ends by itself, unless it is renewed.
            owner: On whose behalf. None: nobody's, and nothing is taken over.

        Returns:
            The token to renew and release it with; None while somebody else holds it.

        Raises:
            ServerUnreachableError: Redis can't be asked. Then nobody knows, and the lock must not be assumed.
            InvalidSettingsError: The key is empty, or `ttl` is no number of seconds above 0.
            WrongLoopError: The client lives in another event loop.
        """
        heir_of = f"{owner}/" if owner else ""
        token = heir_of + secrets.token_hex(16)
        abandoned = ",".join(self._abandoned.get(key, ()))
        try:
            taken = await self._run(_LOCK, key, token, _milliseconds(ttl), heir_of, abandoned)
        except ServerUnreachableError:
            self._abandon(key, token)
            raise
        self._abandoned.pop(key, None)
        return token if taken else None

    async def release_abandoned(self) -> None:
        """Give back what calls that were never answered may have left in Redis, or others wait for its TTL.

        Raises:
            ServerUnreachableError: Redis still can't be asked.
            WrongLoopError: The client lives in another event loop.
        """
        for key, tokens in list(self._abandoned.items()):
            while tokens:
                await self._run(_UNLOCK, key, tokens[0])
                tokens.popleft()
            self._abandoned.pop(key, None)

    def _abandon(self, key: str, token: str) -> None:
        self._abandoned.setdefault(key, deque(maxlen=MAX_ABANDONED_PER_KEY)).append(token)

    async def renew(self, key: str, token: str, ttl: float) -> bool:
        """Prolong the lock.

        Args:
            key: Which lock.
            token: What `acquire` returned.
            ttl: After how many seconds from now it ends by itself.

        Returns:
            False if it is not ours any more.

        Raises:
            ServerUnreachableError: Redis can't be asked.
            InvalidSettingsError: The key is empty, or `ttl` is no number of seconds above 0.
            WrongLoopError: The client lives in another event loop.
        """
        return bool(await self._run(_RENEW_LOCK, key, token, _milliseconds(ttl)))

    async def release(self, key: str, token: str) -> bool:
        """Give the lock back.

        Args:
            key: Which lock.
            token: What `acquire` returned.

        Returns:
            False if it was not ours any more.

        Raises:
            ServerUnreachableError: Redis can't be asked; `release_abandoned` tries again.
            InvalidSettingsError: The key is empty.
            WrongLoopError: The client lives in another event loop.
        """
        try:
            return bool(await self._run(_UNLOCK, key, token))
        except ServerUnreachableError:
            self._abandon(key, token)
            raise

    async def holder(self, key: str) -> tuple[str | None, float] | None:
        """Who holds the lock, and for how long.

        Args:
            key: Which lock.

        Returns:
            The owner given to `acquire_for` (None if nobody gave one), and for how many seconds; None while the lock is
            free.

        Raises:
            ServerUnreachableError: Redis can't be asked.
            InvalidSettingsError: The key is empty.
            WrongLoopError: The client lives in another event loop.
        """
        token, milliseconds = await self._run(_LOOK, key)
        if not token:
            return None
        text = token.decode() if isinstance(token, bytes) else str(token)
        owner, slash, _ = text.rpartition("/")
        return (owner if slash else None), max(0, int(milliseconds)) / 1000

    @asynccontextmanager
    async def hold(self, key: str, ttl: float) -> AsyncIterator[str | None]:
        """Hold the lock inside `async with`, renewing it every third of its `ttl`.

        Args:
            key: Which lock.
            ttl: After how many seconds it ends by itself, unless it is renewed.

        Yields:
            The token, or None if somebody else holds the lock; ask before you act.

        Raises:
            LockLostError: The lock was lost; inside the block's task, as soon as that is known.
            ServerUnreachableError: Redis can't be asked, at the beginning or at the end.
            InvalidSettingsError: The key is empty, or `ttl` is no number of seconds above 0.
            WrongLoopError: The client lives in another event loop.
        """
        token = await self.acquire(key, ttl)
        if token is None:
            yield None
            return
        holder = asyncio.current_task()
        lost: list[str] = []

        async def keep() -> None:
            while True:
                await asyncio.sleep(ttl / 3)
                try:
                    kept = await self.renew(key, token, ttl)
                except ServerUnreachableError:
                    continue
                if not kept:
                    lost.append(key)
                    if holder is not None:
                        holder.cancel()
                    return

        keeper = asyncio.create_task(keep(), name=f"lock {key}")
        try:
            yield token
        except asyncio.CancelledError:
            if lost and holder is not None:
                holder.uncancel()
                raise LockLostError(f"the lock {key!r} was lost while it was held: its TTL is {ttl} s") from None
            raise
        finally:
            await end_tasks(keeper)
            await self.release(key, token)

    async def _run(self, script: str, key: str, *arguments: str | int) -> Any:
        if not key or "\0" in key:
            raise InvalidSettingsError("a lock's key must not be empty")
        self._home.enter(f"the lock {key!r}")
        try:
            call = self._redis.eval(script, 1, self._prefix + key, *(str(a) for a in arguments))
            return await answered(call, within_seconds=CALL_TIMEOUT_SECONDS)
        except CLIENT_ERRORS as error:
            found = meaning(error)
            why = f"({type(error).__name__}): is it running?" if found is None else f"because it {found.sentence}"
            raise ServerUnreachableError(f"Redis can't be asked for the lock {key!r} {why}") from error


def _milliseconds(ttl_seconds: float) -> int:
    if not 0 < ttl_seconds < 10**9:
        raise InvalidSettingsError(f"a lock's ttl is a number of seconds above 0, not {ttl_seconds!r}")
    return max(1, int(ttl_seconds * 1000))
