"""Calling a callback once. Whatever it does, the call comes back with an ending: `domain.ending` has them all.

Nothing leaves here as an exception but what takes the whole event loop down with it. A CancelledError counts as ours
only where this process has asked for it: one that a callback raises, that something it waited for was cancelled with,
or that comes out of a thread, is a failure like any other (arq #190, #213; aiojobs #97).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from scheduler_core.domain.runs.ending import CUT_OFF, NOT_BEGUN, RETURNED, Ending, How
from scheduler_core.domain.runs.run import Failure, Run, RunContext
from scheduler_core.engine.callbacks.registry import Callback
from scheduler_core.engine.clock import Clock
from scheduler_core.engine.election.trust_window import TrustWindow
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.fire.journal import Journal

MAX_MESSAGE_CHARACTERS = 10_000
MAX_TRACEBACK_CHARACTERS = 16_000
MAX_TRACEBACK_FRAMES = 50

MOST_AWAITABLES = 10
"""That a call may return in turn: a callback that returns what returns itself would be awaited for ever."""

_NOBODY_ASKED = "nobody asked for it: the callback raised it, or something that it waited for was cancelled"


class NothingRanError(TypeError):
    """The callback returned something that was to be gone through or awaited by its caller: its body never ran."""


class _NotBegunError(Exception):
    """The run goes back: this replica may not begin it any more."""


@dataclass(frozen=True, slots=True)
class _Raised:
    """What came out of a thread, as a value: neither a future nor a coroutine carries every exception as it is."""

    failure: Failure


class _RaisedInThreadError(Exception):
    """The same, on its way out of the call."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error_type)
        self.failure = failure


_MAY_NOT_BEGIN = object()


@dataclass(slots=True)
class CallbackCall:
    """How this process calls callbacks.

    Parameters: trust, asked last of all: a sync callback waits for a thread first, and a replica that was stopped
    meanwhile may lead no more when it wakes (I7); journal, in which the ending is to be written down; threads, for sync
    callbacks; clock, by which a job's `timeout` is measured.
    """

    trust: TrustWindow
    journal: Journal
    threads: Executor
    clock: Clock

    async def make(self, active: ActiveRun, callback: Callback, context: RunContext | None) -> Ending:
        """Call it, and say how the call ended.

        A sync callback that ran into its time limit can't be stopped: this returns only when its thread has, so that
        it keeps its slot and no second attempt runs beside it.
        """
        call = _Call(self, active, callback)
        active.is_stoppable = callback.is_async
        limit_seconds = active.job.definition.timeout
        error: BaseException | None = None
        try:
            if limit_seconds is None:
                await call.complete(context)
            else:
                async with self.clock.timeout(limit_seconds) as call.limit:
                    await call.complete(context)
        except BaseException as raised:  # noqa: BLE001 - whatever a callback raises is its outcome
            error = raised
        if error is None and call.ended_plainly:
            return RETURNED
        return await call.settle(error)


@dataclass(slots=True)
class _Call:
    """One call, while it is being made."""

    caller: CallbackCall
    active: ActiveRun
    callback: Callback
    limit: asyncio.Timeout | None = None
    thread: asyncio.Future[Any] | None = None

    async def complete(self, context: RunContext | None) -> None:
        """Make the call, and whatever work it returns."""
        callback = self.callback
        args, kwargs = callback.signature.bind(self.active.job.definition, context)
        if callback.is_async:
            result = await callback.function(*args, **kwargs)
        else:
            result = await self._in_thread(args, kwargs)
        if result is not None:
            await self._finish(result)

    async def _in_thread(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        inherited = contextvars.copy_context()
        step = (_call_guarded, self.caller.trust, self.active.run, self.callback.function, args, kwargs)
        self.thread = asyncio.get_running_loop().run_in_executor(self.caller.threads, inherited.run, *step)
        await asyncio.wait({self.thread})
        if self.thread.cancelled():
            raise _NotBegunError  # the threads were told to end before one came to it
        result = self.thread.result()
        if result is _MAY_NOT_BEGIN:
            raise _NotBegunError
        if type(result) is _Raised:
            raise _RaisedInThreadError(result.failure)
        return result

    async def _finish(self, result: Any) -> None:
        """Await what was returned to be awaited: a plain function may wrap a coroutine function (taskiq #343)."""
        for _ in range(MOST_AWAITABLES):
            if _is_a(result, concurrent.futures.Future):
                # Work that a plain function has given to a pool of its own.
                result = asyncio.wrap_future(result)
            if not _can_be_awaited(result):
                if _is_a(result, GeneratorType, AsyncGeneratorType):
                    raise NothingRanError(
                        f"the callback is a generator: calling it returned a {_name_of_type(result)}, and nothing of "
                        "its body ran; make it a plain function or a coroutine function"
                    )
                return
            if self.active.cancel_requested:
                _discard(result)
                return
            self.active.is_stoppable = True
            result = await result
        raise NothingRanError(f"what the callback returned was awaited {MOST_AWAITABLES} times, and returned more")

    @property
    def ended_plainly(self) -> bool:
        """Whether nothing but the callback's own return has a say in how the call ended."""
        task = self.active.task
        return self.limit is None and not self.active.cancel_requested and (task is None or not task.cancelling())

    async def settle(self, error: BaseException | None) -> Ending:
        """Say how the call ended, once its thread, if it has one, has ended as well."""
        ending = self._ending_of(error)
        if self.thread is not None and ending is not CUT_OFF:
            try:
                while not self.thread.done():
                    await asyncio.wait({self.thread})
            except asyncio.CancelledError:
                ending = self._when_cancelled(None)
            if self.thread.done() and not self.thread.cancelled():
                _discard(self.thread.result())
        await self._absorb_cancels()
        return ending

    def _ending_of(self, error: BaseException | None) -> Ending:
        if error is not None and _is_a(error, GeneratorExit) and not _is_running():
            raise error  # the loop is gone, and this coroutine is being closed
        if _is_a(error, _NotBegunError):
            return NOT_BEGUN
        cancelled = _is_a(error, asyncio.CancelledError)
        if self.active.cancel_requested:
            if cancelled:
                return Ending(How.CANCELLED, note="the callback was stopped")
            how = "returned" if error is None else f"ended with {_failure(error).summary}"
            return Ending(How.CANCELLED, note=f"the callback was not stopped, and {how}")
        if self.limit is not None and self.limit.expired():
            return Ending(How.TIMED_OUT, self._timed_out(error))
        if error is None:
            return RETURNED
        if cancelled:
            return self._when_cancelled(error)
        return Ending(How.RAISED, _failure(error))

    def _when_cancelled(self, error: BaseException | None) -> Ending:
        """A CancelledError came out: whose was it?"""
        if self.active.cancel_requested:
            return Ending(How.CANCELLED, note="the replica waited no longer for its thread")
        if self.active.stop_requested:
            return CUT_OFF
        task = self.active.task
        if task is not None and task.cancelling() and not self.caller.journal.is_open:
            # Everything here is being cancelled: the loop ends under us, and nothing can be written down any more.
            raise error or asyncio.CancelledError
        return Ending(How.RAISED, Failure("failed", "CancelledError", _NOBODY_ASKED, _traceback_of(error)))

    def _timed_out(self, error: BaseException | None) -> Failure:
        limit_seconds = self.active.job.definition.timeout
        text = f"the callback ran longer than its timeout of {limit_seconds:g} s"
        if self.thread is not None and not self.active.is_stoppable:
            text += "; its thread could not be stopped and has ended"
        elif error is None:
            text += ", and went on after it was told to stop"
        elif not _is_a(error, TimeoutError, asyncio.CancelledError):
            text += f", and then ended with {_failure(error).summary}"
        return Failure("timeout", "TimeoutError", text[:MAX_MESSAGE_CHARACTERS])

    async def _absorb_cancels(self) -> None:
        """Let no cancel that has had its effect, or was the callback's own, strike at what is written down next."""
        task = self.active.task
        if task is None or not task.cancelling():
            return
        while task.cancelling():
            task.uncancel()
        try:
            # One that was never delivered (a callback that cancels its own task, and returns) would be, here.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return


def _call_guarded(
    trust: TrustWindow, run: Run, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    """In the thread: what the function returned, or its failure as a value."""
    if not trust.allows(run):
        return _MAY_NOT_BEGIN
    try:
        return function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - whatever a callback raises is its outcome
        return _Raised(failure_of(error))


def _failure(error: BaseException) -> Failure:
    return error.failure if type(error) is _RaisedInThreadError else failure_of(error)


def failure_of(error: BaseException) -> Failure:
    """An exception as values that can be stored, whatever its own methods do."""
    try:
        message = str(error)
    except BaseException as worse:  # noqa: BLE001 - an exception whose text raises, or exits, is an outcome too
        message = f"(its text raised {_name_of_type(worse)})"
    if not message and _is_a(error, asyncio.CancelledError, concurrent.futures.CancelledError):
        message = _NOBODY_ASKED
    return Failure("failed", _name_of_type(error), message[:MAX_MESSAGE_CHARACTERS], _traceback_of(error))


def _traceback_of(error: BaseException | None) -> str:
    if error is None:
        return ""
    try:
        text = "".join(traceback.format_exception(error, limit=-MAX_TRACEBACK_FRAMES))
    except BaseException as worse:  # noqa: BLE001 - as above
        return f"(its traceback raised {_name_of_type(worse)})"
    return text[-MAX_TRACEBACK_CHARACTERS:]


def _discard(result: Any) -> None:
    """Nobody will await this: say so, or it complains when it is collected."""
    if _is_a(result, CoroutineType):
        result.close()


# What a callback returns or raises is asked nothing: a proxy raises where it is looked at (werkzeug's outside of its
# request), and a class may make up its name. Its type says it all.


def _is_a(given: object, *kinds: type) -> bool:
    return issubclass(type(given), kinds)


def _can_be_awaited(given: object) -> bool:
    if _is_a(given, GeneratorType):
        return bool(given.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)  # type: ignore[attr-defined]
    return issubclass(type(given), Awaitable)


def _name_of_type(given: object) -> str:
    name: str = type.__dict__["__name__"].__get__(type(given))
    return name


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
