"""One reader for all who watch.

Each view that is watched is read and rendered once per round, and the same bytes go to everybody who watches it: fifty
dashboards cost what one costs. Nobody watches: nothing is read. A round is followed by a rest that is longer than the
round took, so that pages never take more than a part of what the database has. Only what has changed is sent, and who
reads slowly gets the latest, not all that was in between.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.web.pages.activity import Activity
from scheduler_core.web.problem import Problem

logger = logging.getLogger("scheduler_core.web")

ROUND_SECONDS = 1.0
REST_PER_WORK = 3.0
"""A round that took a second is followed by three of rest."""
READ_TIMEOUT_SECONDS = 15.0
MOST_WATCHERS = 500
MOST_WATCHED = 100
STALE = b"event: stale\ndata: \n\n"
"""What watchers are told while a view can't be read."""

Key = tuple[str, ...]
"""Which view, with which parameters, below which root, for whom: equal keys are shown the same."""

Read = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class Watched:
    """One view that somebody watches, and what was sent of it last."""

    read: Read
    watchers: int = 0
    message: bytes | None = None
    serial: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def tell(self, message: bytes) -> None:
        """Hand everybody a new message, unless it says what the last one said."""
        if message == self.message:
            return
        async with self.changed:
            self.message = message
            self.serial += 1
            self.changed.notify_all()

    async def after(self, serial: int) -> tuple[int, bytes]:
        """The first message that is newer; waits for it."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.serial > serial)
            assert self.message is not None
            return self.serial, self.message


@dataclass(slots=True)
class Hub:
    """All that is watched in this process, and the one task that reads it. Lives on one event loop."""

    activity: Activity = field(default_factory=Activity)
    watched: dict[Key, Watched] = field(default_factory=dict)
    rounds: int = 0
    _reader: asyncio.Task[None] | None = None
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def watch(self, key: Key, read: Read) -> AsyncIterator[Watched]:
        """Watch a view. Raises Problem 503 where too many do."""
        if sum(one.watchers for one in self.watched.values()) >= MOST_WATCHERS or (
            key not in self.watched and len(self.watched) >= MOST_WATCHED
        ):
            raise Problem(
                503, "too-many-watch", "too many pages are open here: close some", headers={"Retry-After": "5"}
            )
        view = self.watched.setdefault(key, Watched(read))
        view.watchers += 1
        self._asked.set()
        if self.is_idle:
            self._reader = asyncio.create_task(self._go_on(), name="pages: reader")
        try:
            yield view
        finally:
            view.watchers -= 1
            if not view.watchers:
                self.watched.pop(key, None)
            if not self.watched:
                # The reader ends by itself: a statement that is cut off would cost its connection.
                self._asked.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is read any more."""
        return self._reader is None or self._reader.done()

    async def _go_on(self) -> None:
        while self.watched:
            begun = time.monotonic()
            self._asked.clear()
            for key, view in list(self.watched.items()):
                await self._look(key, view)
            self.rounds += 1
            took = time.monotonic() - begun
            await self._rest(max(ROUND_SECONDS - took, REST_PER_WORK * took))

    async def _rest(self, seconds: float) -> None:
        """Wait; but who comes new, or leaves last, is not kept waiting for long."""
        least = min(seconds, ROUND_SECONDS / 4)
        await asyncio.sleep(least)
        try:
            async with asyncio.timeout(seconds - least):
                await self._asked.wait()
        except TimeoutError:
            return

    async def _look(self, key: Key, view: Watched) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                text = await view.read()
        except (SchedulerError, Problem, TimeoutError) as error:
            logger.info("the view %s can't be read now: %s", key[0], error)
            await view.tell(STALE)
        except Exception:
            # One view's defect must not leave the others without news.
            logger.exception("the view %s can't be shown", key[0])
            await view.tell(STALE)
        else:
            await view.tell(message_of(text))


def message_of(text: str) -> bytes:
    """A text as one event: each line as data, whatever its line ends are."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"{lines}\n".encode()


def hub_of(request: Request) -> Hub:
    """The application's one reader."""
    state = request.app.state
    if not hasattr(state, "pages_hub"):
        state.pages_hub = Hub()
    hub: Hub = state.pages_hub
    return hub
