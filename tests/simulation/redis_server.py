"""Redis as an election sees it: the scripts of `storage.redis.leases`, told a second time in Python."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from scheduler_core.storage.redis import leases
from scheduler_core.storage.redis.leases import LeaseStore

from .network import Link
from .timeline import Timeline


@dataclass(frozen=True, slots=True)
class Held:
    """What lies under a lease's key; `until` None: for ever."""

    token: str
    instance: str | None
    term: str | None
    beat: str | None
    ttl: str | None
    until: float | None


class RedisServer:
    """See the module."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.is_up = True
        self.answers_errors = False
        self.leases: dict[str, Held] = {}
        self.memories: dict[str, int] = {}
        self._past: deque[tuple[float, dict[str, Held], dict[str, int]]] = deque(maxlen=200)
        self._by_text: dict[str, Callable[..., Any]] = {
            leases._TAKE: self._take,
            leases._RENEW: self._renew,
            leases._RELEASE: self._release,
            leases._READ: self._read,
        }

    def flush(self) -> None:
        """As FLUSHALL."""
        self.leases.clear()
        self.memories.clear()
        self._keep()

    def roll_back(self, seconds: float) -> None:
        """A replica was promoted that lacks what was written lately."""
        older = [(held, memories) for at, held, memories in self._past if at <= self.timeline.now - seconds]
        held, memories = older[-1] if older else ({}, {})
        self.leases, self.memories = dict(held), dict(memories)
        self._keep()

    def write_by_hand(self, token: str) -> None:
        """As `HSET lease token x`, over whatever lies there: it never ends by itself."""
        for key in self.leases:
            self.leases[key] = Held(token, None, None, None, None, None)
        self._keep()

    def _keep(self) -> None:
        self._past.append((self.timeline.now, dict(self.leases), dict(self.memories)))

    def evaluate(self, script: str, keys: tuple[str, ...], arguments: tuple[str, ...]) -> Any:
        """What EVAL answers, or the error."""
        if self.answers_errors:
            return ResponseError(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist"
            )
        handler = self._by_text.get(script)
        if handler is None:
            self.timeline.failed(f"the simulated Redis does not know this script: {script}")
            return None
        return handler(keys, *arguments)

    def _held(self, key: str) -> Held | None:
        held = self.leases.get(key)
        if held is not None and held.until is not None and held.until <= self.timeline.now:
            del self.leases[key]
            return None
        return held

    def _take(
        self,
        keys: tuple[str, ...],
        token: str,
        ttl_ms: str,
        instance: str,
        dead_token: str,
        term: str,
        is_new: str,
        beat: str,
        server: str,
        greatest_step: str,
        memory_ms: str,
    ) -> list[str]:
        held = self._held(keys[0])
        if held is not None and held.token != token and (not dead_token or held.token != dead_token):
            return ["0", ""]
        number, carried, unbelieved = int(term), self.memories.get(keys[1]), ""
        if carried is not None and 0 <= carried <= number + int(greatest_step):
            number = max(number, carried + int(is_new))
        elif carried is not None:
            unbelieved = str(carried)
        self.memories[keys[1]] = number
        self.leases[keys[0]] = Held(token, instance, str(number), beat, ttl_ms, self._until(ttl_ms))
        self._keep()
        return [str(number), unbelieved]

    def _renew(self, keys: tuple[str, ...], token: str, ttl_ms: str, term: str, beat: str) -> int:
        held = self._held(keys[0])
        if held is None:
            return 0
        if held.token != token:
            return -1
        self.leases[keys[0]] = replace(held, term=term, beat=beat, ttl=ttl_ms, until=self._until(ttl_ms))
        self._keep()
        return 1

    def _release(self, keys: tuple[str, ...], token: str) -> int:
        held = self._held(keys[0])
        if held is None or held.token != token:
            return 0
        del self.leases[keys[0]]
        self._keep()
        return 1

    def _read(self, keys: tuple[str, ...]) -> list[Any]:
        held = self._held(keys[0])
        if held is None:
            return [None, None, None, None, None, -2]
        remaining_ms = -1 if held.until is None else int((held.until - self.timeline.now) * 1000)
        return [held.token, held.instance, held.term, held.beat, held.ttl, remaining_ms]

    def _until(self, ttl_ms: str) -> float:
        return self.timeline.now + int(ttl_ms) / 1000


class Pool:
    """The client's connections: there is nothing to keep."""

    async def disconnect(self) -> None: ...


class Client:
    """As much of `redis.asyncio.Redis` as a lease uses."""

    def __init__(self, server: RedisServer, link: Link) -> None:
        self._server = server
        self._link = link
        self.connection_pool = Pool()

    async def eval(self, script: str, keys_count: int, *given: str) -> Any:
        server, link, loop = self._server, self._link, asyncio.get_running_loop()
        if link.is_over:
            raise RedisConnectionError("the simulation is over")
        answered = loop.create_future()

        def tell(answer: Any) -> None:
            if not answered.done():
                answered.set_result(answer)

        def arrives() -> None:
            if server.is_up:
                answer = server.evaluate(script, given[:keys_count], given[keys_count:])
                if link.breaks():
                    answer = RedisConnectionError("connection reset")
            else:
                answer = RedisConnectionError("connection refused")
            link.down.send(lambda: loop.is_closed() or loop.call_soon_threadsafe(tell, answer))

        if link.breaks():
            raise RedisConnectionError("connection reset")
        link.up.send(arrives)
        answer = await answered
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None: ...


def simulated_lease(server: RedisServer, link: Link, *, timeout_seconds: float) -> LeaseStore:
    """The real lease, over a simulated client."""
    lease = LeaseStore("redis://simulated", timeout_seconds=timeout_seconds)
    lease._scripts._client = Client(server, link)  # type: ignore[assignment]
    return lease
