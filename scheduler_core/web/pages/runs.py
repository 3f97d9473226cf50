"""Runs, the latest first, narrowed down as asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler_core.domain.runs.run import UNFINISHED, RunStatus
from scheduler_core.domain.runs.run_filter import RunFilter
from scheduler_core.web.pages.view import Asked, View, runs_of

PER_PAGE = 50

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "unfinished": tuple(status.value for status in RunStatus if status in UNFINISHED),
    "bad": ("failed", "lost", "missed"),
}
STATUSES = {"bad": "failed, lost or missed", "unfinished": "not finished"} | {
    status.value: status.value for status in RunStatus
}


async def read(asked: Asked) -> dict[str, Any]:
    status = asked.choice("status", STATUSES)
    wanted = RunFilter(
        job_id=asked.value("job"),
        statuses=None if status is None else _GROUPS.get(status, (status,)),
        since=asked.instant("since"),
        until=asked.instant("until"),
    )
    page = await runs_of(asked.container, wanted, asked.value("before"), PER_PAGE)
    return {"page": page, "statuses": STATUSES, "values": asked.values}


VIEW = View(
    "runs",
    "/runs",
    lambda _values: "Runs",
    read,
    ("job", "status", "since", "until", "before"),
    section="runs",
)
