"""Calling a callback once: an attempt, with its time limit, and what came of it as a value."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from scheduler_core.domain.errors import NotLeaderError
from scheduler_core.domain.job import JobDefinition
from scheduler_core.domain.run import Failure, RunContext
from scheduler_core.engine.registry import Callback

MAX_TRACEBACK_CHARACTERS = 16_000

TimeLimit = Callable[[float], AbstractAsyncContextManager[asyncio.Timeout]]
"""Cuts off what runs inside it after so many seconds: `asyncio.timeout`, or one on another clock."""


class MayNotBeginError(NotLeaderError):
    """Leadership ended between the decision to start and the callback's first line."""


class AttemptTimeoutError(Exception):
    """The callback ran longer than the job's `timeout`."""


async def attempt(
    callback: Callback,
    definition: JobDefinition,
    context: RunContext | None,
    threads: Executor,
    may_begin: Callable[[], bool],
    time_limit: TimeLimit = asyncio.timeout,
) -> Failure | None:
    """Call the callback once.

    Parameters: context, handed over if the callback takes one; may_begin, asked last of all: a sync callback waits for
    a thread first, and a replica that was stopped meanwhile may lead no more when it wakes (I7); time_limit, what the
    job's `timeout` is measured by.
    Returns None for success, else how it failed. A sync callback that ran into its time limit can't be stopped:
    this returns only when its thread has, so that it keeps its slot and no second attempt runs beside it.
    Raises NotLeaderError when it may not begin; asyncio.CancelledError when the attempt is cancelled from outside.
    """
    args: tuple[Any, ...] = definition.args
    kwargs = dict(definition.kwargs)
    if callback.context_first:
        args = (context, *args)
    elif callback.wants_context:
        kwargs["ctx"] = context
    try:
        if callback.is_async:
            await _call_async(callback.function, args, kwargs, definition.timeout, time_limit)
        else:
            guarded = functools.partial(_call_guarded, may_begin, callback.function)
            await _call_in_thread(guarded, args, kwargs, definition.timeout, time_limit, threads)
    except (asyncio.CancelledError, MayNotBeginError):
        raise
    except AttemptTimeoutError as error:
        return Failure("timeout", "TimeoutError", str(error))
    except (KeyboardInterrupt, SystemExit) as error:
        # A callback that ends "the program" ends its attempt: the replica has other jobs to run.
        return failure_of(error)
    except Exception as error:  # noqa: BLE001 - whatever a callback raises is its outcome
        return failure_of(error)
    return None


async def _call_async(
    function: Callable[..., Awaitable[Any]],
    args: Any,
    kwargs: dict[str, Any],
    timeout: float | None,
    time_limit: TimeLimit,
) -> None:
    if timeout is None:
        await function(*args, **kwargs)
        return
    try:
        async with time_limit(timeout) as limit:
            await function(*args, **kwargs)
    except TimeoutError:
        if limit.expired():
            raise AttemptTimeoutError(f"the callback ran longer than its timeout of {timeout:g} s") from None
        raise


async def _call_in_thread(
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    timeout: float | None,
    time_limit: TimeLimit,
    threads: Executor,
) -> None:
    loop = asyncio.get_running_loop()
    inherited = contextvars.copy_context()
    work = loop.run_in_executor(threads, lambda: inherited.run(_call_plainly, function, args, kwargs))
    if timeout is None:
        await asyncio.wait({work})
    else:
        with contextlib.suppress(TimeoutError):
            async with time_limit(timeout):
                await asyncio.wait({work})
    if work.done():
        result = work.result()
        if asyncio.iscoroutine(result):
            # A sync wrapper around a coroutine function: what it returned is the work.
            await cast("Awaitable[Any]", result)
        return
    await asyncio.wait({work})
    work.exception()
    raise AttemptTimeoutError(
        f"the callback ran longer than its timeout of {timeout:g} s; its thread could not be stopped and has ended"
    )


def _call_guarded(may_begin: Callable[[], bool], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not may_begin():
        raise MayNotBeginError("this replica leads no more: the run goes back")
    return function(*args, **kwargs)


def _call_plainly(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # A future can't carry StopIteration.
        raise RuntimeError("the callback raised StopIteration") from error
    except (KeyboardInterrupt, SystemExit) as error:
        raise RuntimeError(f"the callback raised {type(error).__name__}: {error}") from error


def failure_of(error: BaseException) -> Failure:
    """An exception as values that can be stored."""
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - an exception whose text raises is still an outcome
        message = f"(its text raised {type(broken).__name__})"
    text = "".join(traceback.format_exception(error, limit=-50))
    return Failure("failed", type(error).__name__, message[:10_000], text[-MAX_TRACEBACK_CHARACTERS:])
