"""Tokens: who may call this API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from scheduler_core.web.api import paging
from scheduler_core.web.api.schemas.tokens import MadeToken, Me, NewToken, TokenPage
from scheduler_core.web.api.values import Admin, ContainerDep, Cursor, Limit, PathName, Viewer
from scheduler_core.web.documented import problems

router = APIRouter(tags=["access"])


@router.get("/me", response_model=Me)
async def who_am_i(caller: Viewer) -> Any:
    """Whose token this is, and what it allows."""
    return caller


@router.get("/tokens", response_model=TokenPage)
async def list_tokens(
    _caller: Admin,
    container: ContainerDep,
    with_revoked: Annotated[bool, Query(description="those that were revoked too")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """The tokens, without their secrets, which nobody has."""
    after = paging.decode(cursor, UUID)
    rows = await container.get_tokens().listed(with_revoked=with_revoked, after=after, limit=limit + 1)
    return paging.page(rows, limit, "token_id")


@router.post("/tokens", status_code=201, response_model=MadeToken, responses=problems(409))
async def create_token(asked: NewToken, caller: Admin, container: ContainerDep) -> dict[str, Any]:
    """Make a token; the answer holds its secret, this once."""
    made, secret = await container.get_tokens().create(asked.name, asked.scope, days=asked.days, by=caller.actor.name)
    return {**asdict(made), "token": secret}


@router.delete("/tokens/{name}", status_code=204, responses=problems(404))
async def revoke_token(name: PathName, caller: Admin, container: ContainerDep) -> None:
    """End a token and the sessions that it opened, at once."""
    await container.get_tokens().revoke(name, by=caller.actor.name)
