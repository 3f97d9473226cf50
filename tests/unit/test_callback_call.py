"""One call of a callback: what is asked before its first line, and whose a CancelledError is.

How each ending is recorded, on real servers and under every executor: `tests/endings`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from fire_values import Notebook, Window, an_active_run

from scheduler_core.domain.runs.ending import Ending, How
from scheduler_core.engine.callbacks.registry import describe
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.fire.callback_call import CallbackCall


@contextmanager
def caller(window: Window | None = None, journal: Notebook | None = None) -> Iterator[CallbackCall]:
    with ThreadPoolExecutor(1) as threads:
        yield CallbackCall(window or Window(), journal or Notebook(), threads, DatabaseClock())


async def ended(callback: Callable[..., Any], **fields: Any) -> Ending:
    """How one call of it ends, made in a task of its own as every run's is."""
    with caller() as call:
        return await asyncio.create_task(_make(call, callback, **fields))


async def _make(call: CallbackCall, callback: Callable[..., Any], **fields: Any) -> Ending:
    return await call.make(an_active_run(callback, **fields), describe("j", callback), None)


@pytest.mark.parametrize("leads", [True, False])
async def test_a_sync_callback_asks_again_once_it_has_a_thread(leads: bool) -> None:
    """I7: a replica that was stopped while the call waited for its thread leads no more when it wakes."""
    called = []
    with caller(window := Window()) as call:
        busy = threading.Event()
        call.threads.submit(busy.wait)
        making = asyncio.create_task(_make(call, lambda: called.append(1)))
        await asyncio.sleep(0)
        window.answers = leads
        busy.set()
        ending = await making
    assert ending.how is (How.RETURNED if leads else How.NOT_BEGUN)
    assert bool(called) == leads
    assert window.asked == 1


async def test_a_call_whose_threads_are_told_to_end_has_not_begun() -> None:
    called = []
    with caller() as call:
        busy = threading.Event()
        call.threads.submit(busy.wait)
        making = asyncio.create_task(_make(call, lambda: called.append(1)))
        await asyncio.sleep(0)
        call.threads.shutdown(wait=False, cancel_futures=True)
        busy.set()
        assert (await making).how is How.NOT_BEGUN
    assert called == []


async def cancels_its_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(30)


async def test_a_cancel_that_nobody_asked_for_is_a_failure() -> None:
    ending = await ended(cancels_its_task)
    assert ending.how is How.RAISED
    assert ending.failure is not None
    assert ending.failure.error_type == "CancelledError"
    assert "nobody asked for it" in ending.failure.error_message


async def test_a_cancel_has_no_effect_on_what_is_written_down_next() -> None:
    """A callback that cancels its own task and returns would have the next await of its run raise."""

    async def cancels_and_returns() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def call_and_go_on(call: CallbackCall) -> Ending:
        ending = await _make(call, cancels_and_returns)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        return ending

    with caller() as call:
        assert (await asyncio.create_task(call_and_go_on(call))).how is How.RETURNED


async def called_and(
    then: Callable[[ActiveRun], object], callback: Callable[..., Any], journal: Notebook | None = None
) -> Ending:
    """Begin a call, do something to its run once the callback is executing, and say how it ended."""
    with caller(journal=journal) as call:
        given: asyncio.Future[ActiveRun] = asyncio.get_running_loop().create_future()

        async def make() -> Ending:
            active = an_active_run(callback)
            given.set_result(active)
            return await call.make(active, describe("j", callback), None)

        making = asyncio.create_task(make())
        active = await given
        await asyncio.sleep(0)
        then(active)
        return await making


async def lasts() -> None:
    await asyncio.sleep(30)


async def swallows() -> None:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return


@pytest.mark.parametrize(
    ("then", "callback", "how", "note"),
    [
        (ActiveRun.cancel, lasts, How.CANCELLED, "the callback was stopped"),
        (ActiveRun.cancel, swallows, How.CANCELLED, "the callback was not stopped, and returned"),
        (ActiveRun.stop, lasts, How.CUT_OFF, ""),
        (ActiveRun.stop, swallows, How.RETURNED, ""),
    ],
    ids=["cancelled", "cancelled and swallowed", "cut off", "cut off and swallowed"],
)
async def test_who_asked_for_it_decides_what_a_cancel_is(
    then: Callable[[ActiveRun], object], callback: Callable[..., Any], how: How, note: str
) -> None:
    ending = await called_and(then, callback)
    assert (ending.how, ending.note) == (how, note)


async def test_a_loop_that_ends_under_a_call_is_no_ending() -> None:
    """`asyncio.run` cancels every task: nothing can be written down any more, and recovery finds the run."""

    def everything_ends(active: ActiveRun) -> None:
        assert active.task is not None
        active.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await called_and(everything_ends, lasts, Notebook(is_open=False))


async def test_a_thread_that_outlasts_its_limit_keeps_its_slot_until_it_ends() -> None:
    let_go = threading.Event()
    with caller() as call:
        making = asyncio.create_task(_make(call, lambda: let_go.wait(30), timeout=0.05))
        done, _ = await asyncio.wait({making}, timeout=0.3)
        assert not done
        let_go.set()
        ending = await making
    assert ending.how is How.TIMED_OUT
    assert ending.failure is not None
    assert "could not be stopped" in ending.failure.error_message


class ReturnsItself:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return self


def generates() -> Iterator[int]:
    yield 1


def passes_it_on() -> Any:
    return generates()


@pytest.mark.parametrize(
    ("callback", "words"),
    [(passes_it_on, "is a generator"), (ReturnsItself, "and returned more")],
    ids=["a generator", "what returns itself"],
)
async def test_a_callback_whose_body_never_ran_has_failed(callback: Callable[..., Any], words: str) -> None:
    ending = await ended(callback)
    assert ending.how is How.RAISED
    assert ending.failure is not None
    assert ending.failure.error_type == "NothingRanError"
    assert words in ending.failure.error_message
