"""What was recorded while the database's clock was off is judged by when it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from drill_evidence import at

from scheduler_core.drill.evidence import FaultRecord
from scheduler_core.drill.right_times import RightTimes

HOURS_8 = 8 * 3600.0


@pytest.mark.parametrize("off_seconds", [HOURS_8, -HOURS_8])
def test_an_instant_of_the_clock_that_was_off_is_set_right_and_no_other(off_seconds: float) -> None:
    fault = FaultRecord(
        1, "pg-clock", "Postgres", False, 1, at(10), at(17.5), at(10.1), 1, clock_off_seconds=off_seconds
    )
    times = RightTimes([fault])
    off = timedelta(seconds=off_seconds)
    assert times.right(at(12) + off) == at(12)
    for untouched in (at(0), at(12), at(30), at(12) - off):
        assert times.right(untouched) == untouched
    assert times.right_or_none(None) is None
    assert times.right_or_none(at(17) + off) == at(17)
