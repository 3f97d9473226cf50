"""One run: what became of it, each attempt, and where it broke."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from scheduler_core.domain.runs.run import UNFINISHED, Origin, RunStatus, run_uuid
from scheduler_core.domain.runs.words import RunFacts, describe_run
from scheduler_core.web.pages.view import Asked, View

_FACTS = {item.name for item in fields(RunFacts)}


async def read(asked: Asked) -> dict[str, Any]:
    run = await asked.container.run_details(run_uuid(asked.values["id"]))
    attempts = run.pop("attempt_list")
    return {
        "run": run,
        "attempts": attempts,
        "sentence": _sentence(run),
        "is_finished": RunStatus(run["status"]) not in UNFINISHED,
    }


def _sentence(run: dict[str, Any]) -> str:
    known = {name: value for name, value in run.items() if name in _FACTS}
    known |= {"origin": Origin(run["origin"]), "status": RunStatus(run["status"]), "attempt": run["attempts"]}
    return describe_run(RunFacts(**known), None, "UTC")


VIEW = View("run", "/run", lambda values: f"Run {values['id'][:8]}", read, ("id",), section="runs")
