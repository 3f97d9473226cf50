"""How a run's callback is begun: with what must be durable before, and beside what it may take its first steps.

A callback may kill its process at once, before anything of its start is written down. Its run then waits, as far as
Postgres can tell, and the successor begins it again: without end, were there no more to it. Written down before every
start it would cost each fire a statement. So it costs those alone that give cause for it: a run whose owner has died
while nobody knows whether it had begun is *orphaned*, and counted as such.

    FREELY    no owner of it has died. Nothing is written before the call.
    TOGETHER  orphaned once. All such runs of a dead leader begin beside one another, as fast as ever; but nothing takes
              its first steps beside them that a second death would be charged to.
    ALONE     orphaned twice, lost with an owner before, or at_most_once, which is never called twice. Its start is
              durable, and nothing else that a death would be charged to takes its first steps beside it: should the
              process die, this is the culprit, and no other.
"""

from __future__ import annotations

from enum import Enum

from scheduler_core.domain.jobs.policies import Delivery
from scheduler_core.domain.runs.run import Run


class Begin(Enum):
    """See the module."""

    FREELY = "freely"
    TOGETHER = "together"
    ALONE = "alone"

    @property
    def is_durable(self) -> bool:
        """Whether the start is written down before the callback is called."""
        return self is Begin.ALONE


BESIDE = frozenset({(Begin.TOGETHER, Begin.TOGETHER)})
"""Who may take its first steps beside whom; `FREELY` is beside all."""


def begin_of(run: Run, delivery: Delivery) -> Begin:
    """How this run's callback is to be begun."""
    if delivery is Delivery.AT_MOST_ONCE:
        # What is pending of these was never called: its start would be durable. One begins after the other: of several
        # that had durably begun nobody could tell, after a death, which of them was called.
        return Begin.ALONE
    if run.orphaned == 0 and run.deliveries == 0:
        return Begin.FREELY
    return Begin.TOGETHER if run.orphaned == 1 and run.deliveries == 0 else Begin.ALONE
