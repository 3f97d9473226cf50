"""Ticking jobs in a replica whose code has one line switched off, by MUTANT: a test must notice.

Their phases differ, so that whenever the replica is stopped, some timer is set.
"""

import os
from datetime import UTC, datetime, timedelta

from apps.ticking import tick
from scheduler_core import job
from scheduler_core.engine.leadership import Keeper
from scheduler_core.engine.scheduler import BaseScheduler

if os.environ["MUTANT"] == "no trust window":
    Keeper.trusts = lambda self, term: True  # type: ignore[method-assign]
    # Whichever comes first on waking, the timer or the news: the test needs the timer.
    BaseScheduler._hand_back = lambda self: None  # type: ignore[method-assign]

for number in range(10):
    job(f"out-of-phase-{number}", every=0.05, start_at=datetime.now(UTC) + timedelta(milliseconds=5 * number))(tick)
