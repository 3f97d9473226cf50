"""The API under /api/v1.

Each file is one noun. `schemas` is what they speak; `values` what may come in, and who may ask; `paging` the cursors of
listings, `versions` ETag and If-Match, `idempotency` requests that are sent twice; `documented` the problems in the
OpenAPI document.
"""

from fastapi import APIRouter

from scheduler_core.web.api import (
    alarms,
    audit,
    calendars,
    clock,
    exchange,
    job_questions,
    job_verbs,
    jobs,
    leader,
    runs,
    simulation,
    tables,
    tokens,
)

router = APIRouter(prefix="/api/v1")
PARTS = (
    *(jobs, job_verbs, job_questions, exchange, runs, leader, clock, calendars),
    *(audit, tables, alarms, simulation, tokens),
)
for part in PARTS:
    router.include_router(part.router)
