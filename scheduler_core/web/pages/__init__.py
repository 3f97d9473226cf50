"""The dashboard: pages made here, on the server, and kept fresh by one stream.

`overview`, `jobs`, `job`, `runs`, `run`, `replicas`, `calendars` and `audit` each read what one screen shows (a `View`
of `view`); `screens` serves them whole, `stream` serves the same again whenever it changes, read once for everybody who
watches. `actions`, `edit` and `backfill` are what an operator does, each asked for on a form first; `sign_in` lets
people in. `rendering` and `wording` turn values into text, `routes` turns errors into pages, `static` holds the files.

No page runs or styles anything inline: the content security policy forbids it, and so nothing that a job's name or an
error brings along can.
"""

from fastapi import APIRouter

from scheduler_core.web.pages import actions, backfill, edit, screens, sign_in, static, stream
from scheduler_core.web.pages.routes import problem_page

__all__ = ["problem_page", "router"]

router = APIRouter(include_in_schema=False)
for part in (static, sign_in, screens, stream, actions, edit, backfill):
    router.include_router(part.router)
