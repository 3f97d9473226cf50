"""Ticking jobs in a replica whose code has one line switched off, by MUTANT: a test must notice.

Their phases differ, so that whenever the replica is stopped, some timer is set.
"""

import os
from datetime import UTC, datetime, timedelta

from apps.ticking import tick
from scheduler_core import job
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.leader_loop import LeaderLoop

if os.environ["MUTANT"] == "no trust window":
    LeaderTrust.allows = lambda self, run: True  # type: ignore[method-assign]
    # Whichever comes first on waking, the timer or the news: the test needs the timer.
    LeaderLoop.hand_back = lambda self: None  # type: ignore[method-assign]

for number in range(10):
    job(f"out-of-phase-{number}", every=0.05, start_at=datetime.now(UTC) + timedelta(milliseconds=5 * number))(tick)
