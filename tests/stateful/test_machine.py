"""The machine plays for as long as `make test` has the patience; `make stateful` plays on."""

from __future__ import annotations

import functools
import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine, Servers

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "15"))
STEPS = 30

QUIETLY = {
    "stateful_step_count": STEPS,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
    "report_multiple_bugs": False,
}


def test_the_model_agrees_with_the_rows(servers: Servers) -> None:
    play = settings(max_examples=EXAMPLES, derandomize=True, phases=[Phase.generate], **QUIETLY)
    run_state_machine_as_test(functools.partial(Machine, servers), settings=play)
