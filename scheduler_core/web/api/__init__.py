"""The API under /api/v1: each file is one noun, `schemas` what they speak, `paging` the cursors of their listings."""

from fastapi import APIRouter

from scheduler_core.web.api import jobs

router = APIRouter(prefix="/api/v1")
for part in (jobs,):
    router.include_router(part.router)
