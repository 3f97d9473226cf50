"""The leader's lease in Redis.

Every change is one Lua script that compares the token before it acts: a server that runs scripts atomically is
all that is asked for, so genuine Redis 6.2 and current Valkey do alike (`SET … IFEQ` and its kin differ between
them). Clients here retry nothing by themselves and time out early: one renewal must not outlive the lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from scheduler_core.ports import LeaseView
from storage.redis_answers import CLIENT_ERRORS, Cause, explain, meaning
from storage.redis_url import connect

# KEYS[1] the lease. ARGV: own token, TTL in ms, instance, the dead leader's token or '', term, 1 for a new term.
# The term that the lease carries only grows: a standby of Postgres that has not seen it must not give it out again.
_TAKE = """
local held = redis.call('HGET', KEYS[1], 'token')
if held and held ~= ARGV[1] and (ARGV[4] == '' or held ~= ARGV[4]) then
  return 0
end
local term, carried = tonumber(ARGV[5]), tonumber(redis.call('HGET', KEYS[1], 'term') or 0)
if ARGV[6] == '1' and carried >= term then term = carried + 1 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'instance', ARGV[3], 'term', math.max(term, carried), 'renewals', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return math.max(term, carried)
"""

# ARGV: own token, TTL in ms, term. 1 renewed, 0 absent, -1 another token.
_RENEW = """
local held = redis.call('HGET', KEYS[1], 'token')
if not held then return 0 end
if held ~= ARGV[1] then return -1 end
redis.call('HINCRBY', KEYS[1], 'renewals', 1)
redis.call('HSET', KEYS[1], 'term', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

_RELEASE = """
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

_READ = """
local fields = redis.call('HMGET', KEYS[1], 'token', 'instance', 'term', 'renewals')
return {fields[1], fields[2], fields[3], fields[4], redis.call('PTTL', KEYS[1])}
"""


async def answered(call: Awaitable[Any], *, within_seconds: float) -> Any:
    """A call's answer, with no cancellation lost on the way.

    redis-py sends under `asyncio.wait_for`. In Python 3.11 that swallows a cancellation which arrives as the sending
    ends: a loop of renewals would go on for ever, and whoever cancelled it would wait as long. The task still counts
    that it was cancelled, so it is made good here.
    Raises TimeoutError, and whatever the client raises.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    # The outer limit holds also where connecting, sending and reading each take their own time-out.
    async with asyncio.timeout(within_seconds):
        answer = await call
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer


class _Scripts:
    """Lua on one server, every error translated."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._client = connect(url, timeout_seconds=timeout_seconds)

    async def run(self, script: str, key: str, *arguments: str | int) -> Any:
        call = self._client.eval(script, 1, key, *(str(a) for a in arguments))
        try:
            return await answered(call, within_seconds=self._timeout_seconds)
        except CLIENT_ERRORS as error:
            if (found := meaning(error)) is not None and found.cause is Cause.PLACE:
                await self._client.connection_pool.disconnect()
            raise explain(error, self._url) from error

    async def ping(self) -> None:
        try:
            await answered(cast("Awaitable[Any]", self._client.ping()), within_seconds=self._timeout_seconds)
        except CLIENT_ERRORS as error:
            raise explain(error, self._url) from error

    async def close(self) -> None:
        await self._client.aclose()


class LeaseStore:
    """The leader's lease.

    Parameters: url, where Redis is; name, the database that the lease is about (system identifier, database,
    schema), so that two environments may share a Redis; timeout_seconds, when a call is given up.
    """

    def __init__(self, url: str, name: str, *, timeout_seconds: float) -> None:
        self._scripts = _Scripts(url, timeout_seconds=timeout_seconds)
        self.key = f"scheduler:lease:{name}"

    async def ping(self) -> None:
        await self._scripts.ping()

    async def take(
        self, token: str, ttl_seconds: float, instance_id: str, *, dead_token: str | None, term: int, is_new: bool
    ) -> int:
        """Take a lease that is free, already ours, or still carries the token of a dead leader.

        Parameters: term, the number that the lease is to carry; is_new, whether that is a term that nobody has had:
        then it is made larger than the one that the lease carried.
        Returns the number that it carries now; 0 if it was not taken.
        """
        ttl = int(ttl_seconds * 1000)
        dead = dead_token or ""
        return int(await self._scripts.run(_TAKE, self.key, token, ttl, instance_id, dead, term, int(is_new)))

    async def renew(self, token: str, ttl_seconds: float, term: int) -> bool | None:
        """True renewed, None the lease is absent, False it carries another token."""
        answer = int(await self._scripts.run(_RENEW, self.key, token, int(ttl_seconds * 1000), term))
        return {1: True, 0: None}.get(answer, False)

    async def release(self, token: str) -> bool:
        """Give the lease back, if it is ours."""
        return bool(await self._scripts.run(_RELEASE, self.key, token))

    async def read(self) -> LeaseView | None:
        """What the lease says, None if there is none. Unreadable is not absent: then this raises."""
        token, instance_id, term, renewals, remaining = await self._scripts.run(_READ, self.key)
        if token is None:
            return None
        return LeaseView(token, instance_id or "", int(term or 0), int(renewals or 0), int(remaining) / 1000)

    async def close(self) -> None:
        await self._scripts.close()
