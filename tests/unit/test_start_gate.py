"""Which callbacks take their first steps beside which: none beside one that a death would be charged to as well."""

from __future__ import annotations

import asyncio
import itertools
from uuid import UUID

import pytest
from fire_values import a_run
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core.domain.jobs.policies import Delivery
from scheduler_core.domain.runs.begin import BESIDE, Begin, begin_of
from scheduler_core.domain.runs.run import Outcome, RunStatus
from scheduler_core.engine.fire.start_gate import StartGate

CAREFUL = (Begin.TOGETHER, Begin.ALONE)


@pytest.mark.parametrize(
    ("delivery", "orphaned", "deliveries", "begin"),
    [
        (Delivery.AT_LEAST_ONCE, 0, 0, Begin.FREELY),
        (Delivery.AT_LEAST_ONCE, 1, 0, Begin.TOGETHER),
        (Delivery.AT_LEAST_ONCE, 2, 0, Begin.ALONE),
        (Delivery.AT_LEAST_ONCE, 0, 1, Begin.ALONE),
        (Delivery.AT_LEAST_ONCE, 1, 1, Begin.ALONE),
        *[(Delivery.AT_MOST_ONCE, o, d, Begin.ALONE) for o, d in itertools.product((0, 1, 2), (0, 1))],
    ],
)
def test_how_a_run_begins(delivery: Delivery, orphaned: int, deliveries: int, begin: Begin) -> None:
    assert begin_of(a_run(orphaned=orphaned, deliveries=deliveries), delivery) is begin


def number(n: int) -> UUID:
    return UUID(int=n)


async def is_let_in(gate: StartGate, n: int, begin: Begin) -> bool:
    """Whether it comes inside at once; if not, it no longer waits."""
    entering = asyncio.create_task(gate.enter(number(n), begin))
    await asyncio.sleep(0)
    entering.cancel()
    await asyncio.gather(entering, return_exceptions=True)
    return not entering.cancelled()


@pytest.mark.parametrize(("inside", "comes"), list(itertools.product(CAREFUL, CAREFUL)))
async def test_who_goes_beside_whom(inside: Begin, comes: Begin) -> None:
    gate = StartGate()
    await gate.enter(number(1), inside)
    assert await is_let_in(gate, 2, comes) == ((comes, inside) in BESIDE)
    gate.leave(number(1))
    assert await is_let_in(gate, 3, comes)


async def test_a_coroutine_leaves_once_it_has_given_the_loop_back() -> None:
    gate = StartGate()
    await gate.enter(number(1), Begin.ALONE)
    gate.leave_soon(number(1), in_thread=False)
    waits = asyncio.create_task(gate.enter(number(2), Begin.ALONE))
    assert not waits.done()  # the callback is called before the loop comes to anything else
    await asyncio.wait_for(waits, 5)


async def test_a_callback_in_a_thread_leaves_a_moment_later() -> None:
    gate = StartGate()
    await gate.enter(number(1), Begin.ALONE)
    gate.leave_soon(number(1), in_thread=True)
    assert not await is_let_in(gate, 2, Begin.ALONE)
    await asyncio.wait_for(gate.enter(number(3), Begin.ALONE), 5)


@pytest.mark.parametrize("begin", CAREFUL)
async def test_one_that_ends_at_once_keeps_others_out_until_its_end_is_durable(begin: Begin) -> None:
    """Else the next one's death would leave a run without an end that had ended well."""
    gate, run = StartGate(), a_run(1)
    await gate.enter(run.run_id, begin)
    gate.leave_soon(run.run_id, in_thread=False)
    gate.end(run.run_id)
    await asyncio.sleep(0)
    if await is_let_in(gate, 2, Begin.ALONE):
        assert not begin.is_durable
        gate.leave(number(2))
    gate.outcomes_recorded([Outcome(run, RunStatus.SUCCEEDED, 1)], set())
    assert await is_let_in(gate, 3, Begin.ALONE)


async def test_that_it_had_been_queued_lets_nobody_in_beside_it() -> None:
    gate, run = StartGate(), a_run(1)
    await gate.enter(run.run_id, Begin.ALONE)
    gate.outcomes_recorded([Outcome(run, RunStatus.QUEUED, 0)], set())
    assert not await is_let_in(gate, 2, Begin.ALONE)


@given(st.lists(st.tuples(st.sampled_from(CAREFUL), st.integers(0, 5), st.booleans()), max_size=30))
def test_nobody_is_ever_beside_one_that_he_may_not_be_beside(comers: list[tuple[Begin, int, bool]]) -> None:
    """Whoever comes, gives up or leaves, in whatever order; and in the end all who waited have been inside."""

    async def play() -> None:
        gate, inside, were_in = StartGate(), dict[int, Begin](), set[int]()

        async def visit(n: int, begin: Begin, moments: int) -> None:
            await gate.enter(number(n), begin)
            assert all((begin, other) in BESIDE for other in inside.values())
            inside[n] = begin
            were_in.add(n)
            for _ in range(moments):
                await asyncio.sleep(0)
            del inside[n]
            gate.leave(number(n))

        async def come(n: int, begin: Begin, moments: int, gives_up: bool) -> None:
            visiting = asyncio.create_task(visit(n, begin, moments))
            await asyncio.sleep(0)
            if gives_up and n not in were_in:
                visiting.cancel()
                await asyncio.wait({visiting})
            else:
                await visiting

        await asyncio.gather(*(come(n, *comer) for n, comer in enumerate(comers)))
        assert were_in >= {n for n, (_, _, gives_up) in enumerate(comers) if not gives_up}
        assert await is_let_in(gate, 99, Begin.ALONE)

    asyncio.run(asyncio.wait_for(play(), 10))
