"""What passes between a drill and its replicas in files: commands, witness lines; and a wall clock that is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from scheduler_core.domain.runs.run import RunContext
from scheduler_core.drill.commands import Answer, Commands
from scheduler_core.drill.evidence import Moment
from scheduler_core.drill.witness import Witness, read_calls

SKEWED = """
import time
from datetime import UTC, datetime
from scheduler_core.drill.callbacks import skew_wall_clock
from scheduler_core.engine import clock
from scheduler_core.storage.fire import runs
before = time.time(), time.monotonic()
skew_wall_clock(3600.0)
print(round(time.time() - before[0]), round(time.time_ns() / 1e9 - before[0]), round(time.monotonic() - before[1]))
print(round((clock.DatabaseClock().now() - datetime.now(UTC)).total_seconds()))
print(isinstance(datetime.now(UTC), clock.datetime), isinstance(runs.datetime.now(UTC), datetime))
"""


def context(number: int = 0) -> RunContext:
    return RunContext(
        run_id=UUID(int=number),
        job_id="tick-0",
        scheduled_for=datetime(2026, 1, 2, tzinfo=UTC) + timedelta(milliseconds=50 * number),
        attempt=1,
        term=7,
        idempotency_key="",
        deadline=None,
        logger=None,
        _still_owner=lambda: True,
    )


def test_a_command_is_obeyed_once(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    assert commands.claim("blocks") is None
    commands.give("blocks", "2.5")
    with ThreadPoolExecutor(8) as threads:
        claimed = list(threads.map(lambda _: commands.claim("blocks"), range(50)))
    assert [argument for argument in claimed if argument is not None] == ["2.5"]
    assert commands.answer("blocks") is None
    commands.obey("blocks", Answer(4711, 123, 4712))
    assert commands.answer("blocks") == Answer(4711, 123, 4712)
    commands.give("blocks")
    assert commands.answer("blocks") is None, "an old answer is forgotten"
    commands.withdraw("blocks")
    assert commands.claim("blocks") is None


def test_a_line_that_was_cut_off_is_no_line(tmp_path: Path) -> None:
    witness = Witness(tmp_path, time.time_ns)
    for number in range(3):
        witness.write(Moment.BEGAN, context(number))
        witness.write(Moment.ENDED, context(number))
    (file,) = tmp_path.glob("witness-*.tsv")
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])

    def at_wall(wall_ns: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall_ns // 1_000)

    calls = list(read_calls(tmp_path, at_wall))
    assert [call.moment for call in calls] == [Moment.BEGAN, Moment.ENDED] * 2 + [Moment.BEGAN]
    assert {(call.job_id, call.attempt, call.term, call.pid) for call in calls} == {("tick-0", 1, 7, os.getpid())}
    assert calls[-1].run_id == UUID(int=2)
    assert calls[-1].scheduled_for == context(2).scheduled_for
    assert abs(calls[-1].at - datetime.now(UTC)) < timedelta(seconds=10)


def test_a_skewed_replica_reads_a_wrong_wall_clock_and_a_right_monotonic_one() -> None:
    said = subprocess.run([sys.executable, "-c", SKEWED], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.splitlines() == ["3600 3600 0", "3600", "True True"]
