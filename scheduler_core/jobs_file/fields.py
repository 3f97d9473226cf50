"""What stands in a job's table: names shared by reading and writing."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler_core.domain.jobs.job_policies import POLICY
from scheduler_core.domain.schedule import ScheduleType

SCHEDULES: Mapping[str, ScheduleType] = {
    "every": ScheduleType.INTERVAL,
    "daily": ScheduleType.DAILY,
    "cron": ScheduleType.CRON,
    "once": ScheduleType.ONCE,
}
"""The field that says when, as with `@job`."""

WHEN_STORED = "now"
"""`once = "now"`: the moment at which the job is first stored. TOML has no null."""

FIELDS = ("name", *SCHEDULES, "callback", *POLICY)
"""All that a table may hold, in the order in which it is written."""
