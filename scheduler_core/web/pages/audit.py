"""The log of changes, and the questions whose answer ought to be empty: gaps and duplicates."""

from __future__ import annotations

from typing import Any

from scheduler_core.domain.access.actor import Source
from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.web.pages.view import Asked, View, page_of

QUESTIONS = {
    "changes": "Changes of jobs",
    "calendars": "Changes of calendars",
    "gaps": "Gaps",
    "duplicates": "Duplicates",
}
ACTIONS = {
    name: name
    for name in (
        "added",
        "changed",
        "paused",
        "resumed",
        "disabled",
        "enabled",
        "reverted",
        "renumbered",
        "removed",
    )
}
SOURCES = {source.value: source.value for source in Source}
PER_PAGE = 50
MOST_FINDINGS = 100


async def read(asked: Asked) -> dict[str, Any]:
    question = asked.choice("question", QUESTIONS) or "changes"
    found: dict[str, Any] = {"question": question, "questions": QUESTIONS, "values": asked.values}
    found |= {"actions": ACTIONS, "sources": SOURCES, "page": None, "gaps": None, "duplicates": None}
    listings, auditor = asked.container.get_listings(), asked.container.get_auditor()
    filters = AuditFilter(job_id=asked.value("job"), limit=MOST_FINDINGS)
    match question:
        case "changes":
            found["page"] = await page_of(
                listings.changes(
                    job_id=asked.value("job"),
                    source=asked.choice("source", SOURCES),
                    action=asked.choice("action", ACTIONS),
                    before=asked.value("before"),
                    limit=PER_PAGE,
                )
            )
        case "calendars":
            found["page"] = await page_of(listings.calendar_changes(before=asked.value("before"), limit=PER_PAGE))
        case "gaps":
            found["gaps"] = await auditor.gaps(filters)
        case _:
            found["duplicates"] = await auditor.duplicates(filters)
    return found


VIEW = View(
    "audit",
    "/audit",
    lambda _values: "Audit",
    read,
    ("question", "job", "source", "action", "before"),
    is_live=False,
    section="audit",
)
