"""Where a thing lives that has tasks or connections: in one event loop, of one process.

Used anywhere else it fails in ways that say nothing, as a server that can't be reached; so it is asked here first. A
loop that was closed took what lived there along; a forked child has the memory of its parent, and none of its threads,
connections and loops.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from enum import StrEnum

from scheduler_core.domain.errors import WrongLoopError


class Elsewhere(StrEnum):
    """Where a call comes from that is not where the thing lives."""

    FORK = "fork"
    AFTER_THE_END = "after the end"
    OTHER_LOOP = "other loop"


class LoopAffinity:
    """The event loop and the process of one thing.

    Parameters: owner, what lives there, as a sentence begins with it; remedies, what to do, by where the call comes
    from: each may name the `{verb}`; is_of_process, whether it belongs to this process already, before it has a loop.
    """

    def __init__(self, owner: str, remedies: Mapping[Elsewhere, str], *, is_of_process: bool = False) -> None:
        self._owner = owner
        self._remedies = remedies
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_of_process = is_of_process
        self._pid = os.getpid() if is_of_process else None
        self._thread = ""
        self._entering = threading.Lock()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child's copy."""
        return self._pid is not None and self._pid != os.getpid()

    @property
    def has_ended(self) -> bool:
        """Whether the loop has been closed, and all that ran there with it."""
        return self._loop is not None and self._loop.is_closed()

    def check(self, verb: str) -> None:
        """Raises WrongLoopError where the thing lives elsewhere; nothing where it lives here, or nowhere yet.

        Parameters: verb, what was called, as it is written.
        """
        loop = asyncio.get_running_loop()
        if self.is_inherited:
            raise self._error(Elsewhere.FORK, verb)
        if self._loop is None or self._loop is loop:
            return
        raise self._error(Elsewhere.AFTER_THE_END if self._loop.is_closed() else Elsewhere.OTHER_LOOP, verb)

    def enter(self, verb: str) -> None:
        """Live in the running loop from here on. Raises WrongLoopError where the thing lives elsewhere."""
        with self._entering:
            self.check(verb)
            self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
            self._thread = threading.current_thread().name

    def leave(self) -> None:
        """Live nowhere: whoever comes next decides."""
        self._loop = None
        if not self._is_of_process:
            self._pid = None

    def _error(self, where: Elsewhere, verb: str) -> WrongLoopError:
        what_is_wrong = {
            Elsewhere.FORK: f"belongs to process {self._pid}; this one, {os.getpid()}, was forked from it and has "
            "none of its threads, connections and event loops",
            Elsewhere.AFTER_THE_END: "belongs to an event loop that has been closed (asyncio.run closes its loop when "
            "it returns)",
            Elsewhere.OTHER_LOOP: f"belongs to another event loop, that of the thread {self._thread!r}",
        }[where]
        return WrongLoopError(f"{verb}: {self._owner} {what_is_wrong}. {self._remedies[where].format(verb=verb)}")
