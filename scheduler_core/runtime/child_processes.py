"""Child processes that must not outlive the process that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import weakref
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress

PR_SET_PDEATHSIG = 1

_children: weakref.WeakSet[Process] = weakref.WeakSet()


def end_with_us(child: Process) -> None:
    """Have this one killed where the process ends at once, without waiting for it."""
    _children.add(child)


def kill_children() -> None:
    """End those that are to end with us; what they were at is left to recovery."""
    for child in list(_children):
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()


def die_with_parent(parent_pid: int) -> Callable[[], None]:
    """For a child between fork and exec: end it when its parent ends, however that happens (Linux).

    The kernel watches the parent's *thread* that forked: start such children from one that stays.
    """
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent_pid:
                os._exit(1)

    return prepare
