"""The leader's lease in Redis.

Every change is one Lua script that compares the token before it acts: a server that runs scripts atomically is
all that is asked for, so genuine Redis 6.2 and current Valkey do alike (`SET … IFEQ` and its kin differ between
them). Clients here retry nothing by themselves and time out early: one renewal must not outlive the lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, cast

from scheduler_core.ports.election import LeaseElsewhere, LeaseName, LeaseView
from scheduler_core.storage.redis.answers import CLIENT_ERRORS, Cause, explain, meaning
from scheduler_core.storage.redis.url import connect

logger = logging.getLogger("scheduler_core")

MOST_DIGITS = 19

MEMORY_SECONDS = 7 * 86_400
"""For how long Redis remembers a scheduler's greatest term, and on which servers it was led."""

GREATEST_STEP = 1_000_000
"""How far above the own term one is believed that Redis has carried: no standby of Postgres lags that many behind. What
somebody wrote there must not wear the numbers out."""

# KEYS[1] the lease; KEYS[2] what outlasts it: the greatest term that this scheduler has had, and the servers that it
# was led on. ARGV: own token, TTL in ms, instance, the dead leader's token or '', term, 1 for a new term, beat, server,
# the greatest step between terms, for how long in ms to remember. The term only grows: a standby of Postgres that has
# not seen it must not give it out again. Returns the term, and what was remembered and not believed. Nothing that lies
# under either key need be ours.
_TAKE = """
local held = redis.call('HGET', KEYS[1], 'token')
if held and held ~= ARGV[1] and (ARGV[4] == '' or held ~= ARGV[4]) then
  return {'0', ''}
end
local term, said, unbelieved = tonumber(ARGV[5]), redis.pcall('HGET', KEYS[2], 'term'), ''
local carried = type(said) == 'string' and tonumber(said)
if carried and carried >= 0 and carried <= term + tonumber(ARGV[9]) then
  term = math.max(term, math.floor(carried) + tonumber(ARGV[6]))
elseif said then
  unbelieved = type(said) == 'string' and said or 'of another type'
end
if type(said) == 'table' or redis.call('HLEN', KEYS[2]) > 50 then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[2], 'term', string.format('%.0f', term), ARGV[8], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[10])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'instance', ARGV[3], 'term', string.format('%.0f', term),
           'beat', ARGV[7], 'ttl', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {string.format('%.0f', term), string.sub(unbelieved, 1, 40)}
"""

# ARGV: own token, TTL in ms, term, beat. 1 renewed, 0 absent, -1 another token.
_RENEW = """
local held = redis.call('HGET', KEYS[1], 'token')
if not held then return 0 end
if held ~= ARGV[1] then return -1 end
redis.call('HSET', KEYS[1], 'term', ARGV[3], 'beat', ARGV[4], 'ttl', ARGV[2])
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
local fields = redis.call('HMGET', KEYS[1], 'token', 'instance', 'term', 'beat', 'ttl')
return {fields[1], fields[2], fields[3], fields[4], fields[5], redis.call('PTTL', KEYS[1])}
"""

# ARGV: own server, what all lease keys of this scheduler begin with.
_ELSEWHERE = """
local found, known = {}, redis.call('HGETALL', KEYS[2])
for i = 1, #known, 2 do
  if known[i] ~= 'term' and known[i] ~= ARGV[1] and redis.call('EXISTS', ARGV[2] .. known[i]) == 1 then
    table.insert(found, known[i])
    table.insert(found, known[i + 1])
  end
end
return found
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

    async def run(self, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
        call = self._client.eval(script, len(keys), *keys, *(str(a) for a in arguments))
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

    Parameters: url, where Redis is; name, which lease; timeout_seconds, when a call is given up.
    """

    def __init__(self, url: str, name: LeaseName | None = None, *, timeout_seconds: float) -> None:
        self._scripts = _Scripts(url, timeout_seconds=timeout_seconds)
        self._name = name or LeaseName("", "")

    def go_by(self, name: LeaseName) -> None:
        """Which lease is meant from now on: that of the server which the control session is with."""
        self._name = name

    @property
    def key(self) -> str:
        return f"{self._prefix}{self._name.server}"

    @property
    def memory_key(self) -> str:
        """Of what outlasts the lease."""
        return f"scheduler:terms:{self._name.scheduler}"

    @property
    def _prefix(self) -> str:
        return f"scheduler:lease:{self._name.scheduler}@"

    async def ping(self) -> None:
        await self._scripts.ping()

    async def take(
        self,
        token: str,
        ttl_seconds: float,
        instance_id: str,
        *,
        dead_token: str | None,
        term: int,
        is_new: bool,
        beat: int = 0,
    ) -> int:
        """Take a lease that is free, already ours, or still carries the token of a dead leader.

        Parameters: term, the number that the lease is to carry; is_new, whether that is a term that nobody has had:
        then it is made larger than any that a lease of this scheduler has carried; beat, the holder's last.
        Returns the number that it carries now; 0 if it was not taken.
        """
        carried, unbelieved = await self._scripts.run(
            _TAKE,
            (self.key, self.memory_key),
            token,
            int(ttl_seconds * 1000),
            instance_id,
            dead_token or "",
            term,
            int(is_new),
            beat,
            self._name.server,
            GREATEST_STEP,
            MEMORY_SECONDS * 1000,
        )
        if unbelieved:
            logger.warning(
                "Redis remembers %r as the last term of this scheduler (%s), which can't be: Postgres is at %d. It was "
                "replaced",
                unbelieved,
                self.memory_key,
                term,
            )
        return int(carried)

    async def renew(self, token: str, ttl_seconds: float, term: int, beat: int) -> bool | None:
        """True renewed, None the lease is absent, False it carries another token."""
        answer = int(await self._scripts.run(_RENEW, (self.key,), token, int(ttl_seconds * 1000), term, beat))
        return {1: True, 0: None}.get(answer, False)

    async def release(self, token: str) -> bool:
        """Give the lease back, if it is ours."""
        return bool(await self._scripts.run(_RELEASE, (self.key,), token))

    async def read(self) -> LeaseView | None:
        """What the lease says, None if there is none. Unreadable is not absent: then this raises."""
        token, instance_id, term, beat, ttl, remaining_ms = await self._scripts.run(_READ, (self.key,))
        if token is None:
            return None
        remaining = None if int(remaining_ms) < 0 else int(remaining_ms) / 1000
        age = None
        if remaining is not None and (whole_ms := _number(ttl)) > 0:
            age = max(0.0, whole_ms / 1000 - remaining)
        return LeaseView(token, instance_id or "", _number(term), _number(beat), remaining, age)

    async def elsewhere(self) -> list[LeaseElsewhere]:
        """The living leases of other copies of this database, and of its server before the last start."""
        found = await self._scripts.run(_ELSEWHERE, (self.key, self.memory_key), self._name.server, self._prefix)
        return [LeaseElsewhere(*pair) for pair in zip(found[::2], found[1::2], strict=True)]

    async def close(self) -> None:
        await self._scripts.close()


def _number(text: str | None) -> int:
    """A field that ought to be a number; 0 for what is none, or is longer than any of ours."""
    return int(text) if text and len(text) < MOST_DIGITS and text.isascii() and text.isdecimal() else 0
