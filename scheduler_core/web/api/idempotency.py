"""Idempotency keys: a request that is sent again, because its answer was lost, is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Header, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel

from scheduler_core.container import Container
from scheduler_core.domain.access.idempotency import KeyClaim
from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.domain.jobs.fields import check_name
from scheduler_core.web.access import Caller
from scheduler_core.web.problem import Problem

Key = Annotated[
    Annotated[str, AfterValidator(check_name)] | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="the same key and request within a day: the same answer, and nothing is done twice",
    ),
]

Work = Callable[[UUID | None, bool], Awaitable[BaseModel]]
"""Takes the id that a run it makes is to have (None: any), and whether somebody may have made it before."""


async def once(
    request: Request, container: Container, caller: Caller, key: str | None, asked: BaseModel | None, work: Work
) -> JSONResponse:
    """Do the work and answer 201; under a key that was answered before, answer the same again.

    Raises Problem 409 while the first request is still under way, 422 for another request under the same key.
    """
    if key is None:
        return _answer(await work(None, False), replayed=False)
    keys = container.get_idempotency()
    found = await keys.claim(caller.token_id, key, _digest(request, asked))
    if not isinstance(found, KeyClaim):
        if not found.is_same_request:
            raise Problem(422, "key-reused", "this Idempotency-Key was used for another request: draw a new one")
        if found.status is None:
            raise Problem(
                409,
                "under-way",
                "the first request with this Idempotency-Key is still under way: repeat in a moment",
                headers={"Retry-After": str(int(found.ask_again_seconds))},
            )
        return JSONResponse(found.answer, found.status, headers={"Idempotent-Replayed": "true"})
    try:
        done = await work(found.run_id, found.is_taken_over)
    except ServerUnreachableError:
        # Whether it was done is unknown: the key stays claimed, and whoever takes it over looks.
        raise
    except (SchedulerError, Problem):
        await keys.release(found)
        raise
    answer = _answer(done, replayed=False)
    await keys.answered(found, answer.status_code, json.loads(bytes(answer.body)))
    return answer


def _answer(done: BaseModel, *, replayed: bool) -> JSONResponse:
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    return JSONResponse(done.model_dump(mode="json", by_alias=True), 201, headers=headers)


def _digest(request: Request, asked: BaseModel | None) -> bytes:
    body = "" if asked is None else asked.model_dump_json()
    return hashlib.sha256(f"{request.method} {request.url.path}\n{body}".encode()).digest()
