"""What stands in a job's table: names shared by reading and writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler_core.domain.jobs.job import ScheduleJob
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

DEFAULTS: Mapping[str, Any] = {
    name: ScheduleJob.model_fields[name].get_default(call_default_factory=True) for name in POLICY
}
"""What a field is that a table does not have. (`name` is the id then, and `timezone` the default of settings.)"""
