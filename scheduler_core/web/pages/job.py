"""One job: why it does or does not fire, what comes, what was, what was changed."""

from __future__ import annotations

import asyncio
from typing import Any

from scheduler_core.admin.explain import explanation_of
from scheduler_core.domain.errors import JobNotFoundError
from scheduler_core.domain.jobs.job_policies import POLICY
from scheduler_core.domain.runs.run_filter import RunFilter
from scheduler_core.web.pages.view import Asked, View, runs_of

IN_THE_CHART = 200
RUNS_SHOWN = 15
ATTEMPTS_SHOWN = 10
CHANGES_SHOWN = 10

# What is not here stands at the head of the page.
DEFINITION = ("callback", *(name for name in POLICY if name not in {"enabled", "tags"}))


async def read(asked: Asked) -> dict[str, Any]:
    job_id = asked.values["id"]
    listings = asked.container.get_listings()
    explanation, row, runs, attempts, changes = await asyncio.gather(
        explanation_of(asked.container, job_id),
        listings.job(job_id),
        runs_of(asked.container, RunFilter(job_id=job_id), None, IN_THE_CHART),
        listings.attempts_of_job(job_id, limit=ATTEMPTS_SHOWN),
        listings.changes(job_id=job_id, limit=CHANGES_SHOWN),
    )
    if row is None and not runs.items and not changes.items:
        raise JobNotFoundError(
            f"there is no job {job_id!r}, and none of its runs: the list of jobs shows those there are"
        )
    return {
        "job_id": job_id,
        "job": row,
        "definition": [(name, row[name]) for name in DEFINITION] if row is not None else [],
        "explanation": explanation,
        "runs": runs.items[:RUNS_SHOWN],
        "strip": runs.items[19::-1],
        "chart": _chart(runs.items[::-1]),
        "attempts": attempts,
        "changes": changes.items,
    }


def _chart(runs: list[dict[str, Any]]) -> list[list[Any]]:
    """When each run was, how long it took and how late it began, in seconds, and whether it failed."""
    return [
        [run["scheduled_for"].timestamp() for run in runs],
        [_seconds(run["duration"]) for run in runs],
        [_seconds(run["lateness"]) if run["origin"] == "schedule" else None for run in runs],
        [_seconds(run["duration"]) or 0 if run["status"] in ("failed", "lost") else None for run in runs],
    ]


def _seconds(span: Any) -> float | None:
    return None if span is None else max(0.0, round(span.total_seconds(), 6))


VIEW = View("job", "/job", lambda values: values["id"], read, ("id",), section="jobs")
