"""The endings. Each is written as a coroutine function, as a plain function, and as a plain one around a coroutine."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import inspect
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from types import CoroutineType
from typing import Any

from replicas import witness

KINDS = ("async", "sync", "wrapped")
WHENS = ("at once", "after 0.5 s")
PAUSE_SECONDS = {"at once": 0.0, "after 0.5 s": 0.5}


class Base(BaseException):
    """What is no Exception."""


class NamelessType(type):
    """Of classes that leave where they are looked at."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise SystemExit(3)


class Nameless(Exception, metaclass=NamelessType):  # noqa: N818
    """One whose class does something else than have a name."""


class Proxy:
    """As werkzeug's of a request, outside of any."""

    @property  # type: ignore[override]
    def __class__(self) -> type:
        raise RuntimeError("Working outside of request context.")


PanicException = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
"""As polars, orjson and tokenizers raise it where Rust panics (PyO3 #2783, #3918)."""


class BadText(Exception):  # noqa: N818
    """One whose text does something else than be a text."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__("x")
        self.act = act

    def __str__(self) -> str:
        return str(self.act())

    __repr__ = __str__


class Later:
    """An awaitable of nobody's making."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(0.01).__await__()
        witness(f"awaited {self.name}")


def raising(error: Callable[[], BaseException]) -> Callable[[], None]:
    def end() -> None:
        raise error()

    return end


def cancelled_result() -> Any:
    """What a library does that waits for a future of a pool that was shut down."""
    future: Future[None] = Future()
    future.cancel()
    return future.result()


def failing_future() -> Future[None]:
    """What `pool.submit` returns."""
    future: Future[None] = Future()
    future.set_exception(ValueError("no"))
    return future


async def cancelled_child() -> None:
    """Awaiting a task that somebody else has cancelled (httpx, anyio)."""
    child = asyncio.create_task(asyncio.sleep(30))
    child.cancel()
    await child


async def cancelled_by_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(30)


async def cancelled_by_itself_and_returns() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def leaves_a_cancel() -> None:
    """For its own task, which has gone on to what follows the call by then."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)


async def leaves_a_cancel_and_raises() -> None:
    await leaves_a_cancel()
    raise ValueError("no")


async def stops_the_loop() -> None:
    asyncio.get_running_loop().stop()


async def cancelled_in_a_thread() -> None:
    await asyncio.to_thread(cancelled_result)


async def exits_in_a_child() -> None:
    """sys.exit() in a task of the callback's own (sidekiq #3400, #4633)."""
    await asyncio.create_task(_exit())


async def _exit() -> None:
    sys.exit(3)


async def swallows() -> None:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return


async def lasts() -> None:
    await asyncio.sleep(30)


def lasts_in_its_thread() -> None:
    time.sleep(1.5)


def lasts_until_cancelled(ctx: Any) -> None:
    while not ctx.cancel_requested():
        time.sleep(0.02)


def segfaults() -> None:
    ctypes.string_at(0)


def kills() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)


def leaves() -> None:
    os._exit(9)


def grouped(error: Callable[[], BaseException]) -> Callable[[], None]:
    def end() -> None:
        raise BaseExceptionGroup("several", [error()])

    return end


async def _empty() -> Any:
    for n in ():
        yield n


GROUPED: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: ValueError("no"),
    "BaseException": lambda: Base("no"),
    "PanicException": lambda: PanicException("no"),
    "CancelledError": asyncio.CancelledError,
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
}

ENDS: dict[str, Callable[[], Any]] = {
    "returns": lambda: None,
    "raises an Exception": raising(lambda: ValueError("no")),
    "raises StopIteration": raising(StopIteration),
    "raises a BaseException": raising(lambda: Base("no")),
    "raises a PanicException": raising(lambda: PanicException("no")),
    "raises GeneratorExit": raising(GeneratorExit),
    "raises SystemExit": raising(lambda: SystemExit(3)),
    "raises KeyboardInterrupt": raising(KeyboardInterrupt),
    "raises CancelledError": raising(asyncio.CancelledError),
    "awaits a cancelled child": cancelled_child,
    "has a CancelledError out of a thread": cancelled_result,
    "cancels its own task": cancelled_by_itself,
    "cancels its own task and returns": cancelled_by_itself_and_returns,
    "leaves a cancel of its own task behind": leaves_a_cancel,
    "leaves a cancel of its own task behind and raises": leaves_a_cancel_and_raises,
    "stops the event loop": stops_the_loop,
    **{f"raises a group of {name}": grouped(error) for name, error in GROUPED.items()},
    "raises what has no text": raising(lambda: BadText(raising(lambda: ValueError("no")))),
    "raises what exits for a text": raising(lambda: BadText(raising(lambda: SystemExit(3)))),
    "raises what interrupts for a text": raising(lambda: BadText(raising(KeyboardInterrupt))),
    "raises what has no name": raising(lambda: Nameless("no")),
    "runs into its time limit": lasts,
    "swallows the cancel of its time limit": swallows,
    "returns a generator": lambda: (n for n in ()),
    "returns an async generator": _empty,
    "returns an awaitable": lambda: Later("…"),
    "returns a failing future of a pool": failing_future,
    "returns what can't be looked at": Proxy,
    "exits in a child task": exits_in_a_child,
    "ends its process (os._exit)": leaves,
    "ends its process (SIGKILL)": kills,
    "ends its process (SIGSEGV)": segfaults,
    "raises what ends the process for a text": raising(lambda: BadText(leaves)),
    "is cancelled by an operator": lasts,
}

KILLERS = tuple(name for name in ENDS if "ends its process" in name or "ends the process" in name)

LIMITED = ("runs into its time limit", "swallows the cancel of its time limit")

ONLY_ASYNC = frozenset(name for name, end in ENDS.items() if inspect.iscoroutinefunction(end)) - {
    *LIMITED,
    "is cancelled by an operator",
}
"""Endings that only a coroutine has."""


def name_of(ending: str, kind: str, when: str) -> str:
    """The function's name, which is its callback's."""
    words = f"{ending} {kind} {when}".replace("(", "").replace(")", "").replace(".", "_").replace("_ s", "_s")
    return "".join(c if c.isalnum() else "_" for c in words)


def _made(ending: str, kind: str, when: str) -> Callable[..., Any]:
    end, pause_seconds, name = ENDS[ending], PAUSE_SECONDS[when], name_of(ending, kind, when)

    async def coroutine(ctx: Any) -> Any:
        witness(f"called {ctx.job_id}")
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
        result = end()
        return await result if type(result) is CoroutineType else _named(result, ctx)

    def plain(ctx: Any) -> Any:
        witness(f"called {ctx.job_id}")
        time.sleep(pause_seconds)
        if ending == "is cancelled by an operator":
            return lasts_until_cancelled(ctx)
        if ending in LIMITED:
            return lasts_in_its_thread()
        return _named(end(), ctx)

    def wrapped(ctx: Any) -> Awaitable[Any]:
        return coroutine(ctx)

    function = {"async": coroutine, "sync": plain, "wrapped": functools.wraps(coroutine)(wrapped)}[kind]
    if kind == "wrapped":
        del function.__wrapped__  # type: ignore[attr-defined]
    function.__name__ = function.__qualname__ = name
    return function


def _named(result: Any, ctx: Any) -> Any:
    if type(result) is Later:
        result.name = ctx.job_id
    return result


for _ending in ENDS:
    for _kind in KINDS:
        for _when in WHENS:
            globals()[name_of(_ending, _kind, _when)] = _made(_ending, _kind, _when)
