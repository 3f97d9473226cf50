"""The leader's lease in Redis.

Every change is one Lua script that compares the token before it acts: a server that runs scripts atomically is
all that is asked for, so genuine Redis 6.2 and current Valkey do alike (`SET … IFEQ` and its kin differ between
them). Clients here retry nothing by themselves and time out early: one renewal must not outlive the lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.ports import LeaseView
from storage.redis_url import connect, redis_server_name

CLIENT_ERRORS = (RedisError, OSError, RuntimeError, TimeoutError)
"""Whatever a call to Redis raises; uvloop says RuntimeError where a connection was closed under the client."""

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


def explain(error: BaseException, url: str) -> SchedulerError:
    """A client's error as one of ours: what happened to which server, and what to do."""
    if isinstance(error, SchedulerError):
        return error
    # Of a master that was not found the cause tells what the Sentinels said.
    where, told = (
        redis_server_name(url),
        (error.__cause__ or error) if isinstance(error, MasterNotFoundError) else error,
    )
    said = str(told)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        reason = said.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "it can't be verified"
        return ServerUnreachableError(
            f"the certificate of Redis at {where} is not trusted ({reason}): check ssl_ca_certs in redis_url"
        )
    if isinstance(error, MasterNotFoundError):
        if isinstance(told, (AuthenticationError, NoPermissionError)):
            return ServerUnreachableError(
                f"Redis {where}: a Sentinel refused the login: check sentinel_username and sentinel_password in "
                "redis_url"
            )
        silent = "" if told is error else f" ({type(told).__name__})"
        return ServerUnreachableError(
            f"no Sentinel names a living master{silent}: Redis {where}: are they running, do they watch a master of "
            "this name?"
        )
    if isinstance(error, (AuthenticationError, NoPermissionError)) or "NOAUTH" in said:
        return ServerUnreachableError(f"Redis at {where} refused the login: check the password in redis_url")
    if _is_replica(error):
        return ServerUnreachableError(f"Redis at {where} is a replica: point redis_url at the master, or at Sentinels")
    if isinstance(error, ResponseError):
        return SchedulerError(f"Redis at {where} refused a command: {error}")
    return ServerUnreachableError(
        f"Redis at {where} can't be reached ({type(error).__name__}): is it running, is redis_url right?"
    )


def _is_replica(error: BaseException) -> bool:
    """Whether what was a master once refused a write. Before Redis 7 a script says so in the midst of its error."""
    return isinstance(error, ResponseError) and "against a read only replica" in str(error)


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
            if _is_replica(error):
                # The next call asks for the master anew.
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
