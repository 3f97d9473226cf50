"""All jobs: what each is, its schedule in plain words, its last twenty runs, its next fire."""

from __future__ import annotations

from typing import Any

from scheduler_core.web.pages.view import Asked, View, page_of

STATES = {
    "any": "All",
    "active": "Active",
    "paused": "Paused",
    "disabled": "Disabled",
    "failing": "Failing",
    "overdue": "Overdue",
    "finished": "Finished",
}
PER_PAGE = 50
IN_A_STRIP = 20


async def read(asked: Asked) -> dict[str, Any]:
    listings = asked.container.get_listings()
    state = asked.choice("state", STATES) or "any"
    page = await page_of(
        listings.jobs(search=asked.values["q"].strip(), state=state, after=asked.values["after"], limit=PER_PAGE)
    )
    strips = await listings.strips([row["job_id"] for row in page.items], count=IN_A_STRIP)
    return {
        "page": page,
        "strips": strips,
        "states": STATES,
        "view_state": state,
        "search": asked.values["q"],
        "after": asked.values["after"],
    }


VIEW = View("jobs", "/jobs", lambda _values: "Jobs", read, ("q", "state", "after"), section="jobs")
