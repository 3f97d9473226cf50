"""The machine plays for a few seconds in `make test`, and for as long as one likes by `make stateful`."""

from __future__ import annotations

import functools
import os
import time

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine, Servers

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "8"))
"""How many histories `make test` plays: the same ones each time."""

SECONDS = float(os.environ.get("STATEFUL_SECONDS", "0"))
"""How long `make stateful` plays: others each time."""

ALWAYS = settings(
    deadline=None, suppress_health_check=list(HealthCheck), database=None, report_multiple_bugs=False, print_blob=True
)
# Were one of these broken, a shorter history would take minutes to find: that is for `make stateful`.
THE_SAME = settings(ALWAYS, derandomize=True, phases=[Phase.generate], stateful_step_count=25)
ANEW = settings(ALWAYS, phases=[Phase.generate, Phase.shrink], stateful_step_count=50, max_examples=20)


def test_the_model_agrees_with_the_rows(servers: Servers) -> None:
    """I4 and the counters, whatever operators do, and in which order."""
    machine = functools.partial(Machine, servers)
    if not SECONDS:
        run_state_machine_as_test(machine, settings=settings(THE_SAME, max_examples=EXAMPLES))
        return
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        run_state_machine_as_test(machine, settings=ANEW)
