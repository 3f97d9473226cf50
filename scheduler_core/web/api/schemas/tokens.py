"""Tokens, and who calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from scheduler_core.domain.access.access import DEFAULT_TOKEN_DAYS, MOST_TOKEN_DAYS, Scope
from scheduler_core.web.api.schemas.base import Name, Page, RequestModel, ResponseModel
from scheduler_core.web.api.values import AnyCase


class NewToken(RequestModel):
    """Whose token, what it allows, and for how long."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "ci", "scope": "operator", "days": 30}]}
    )

    name: Name
    scope: Annotated[Scope, AnyCase()] = Scope.VIEWER
    days: float | None = Field(
        default=DEFAULT_TOKEN_DAYS, gt=0, le=MOST_TOKEN_DAYS, description="how long it stands; null: for ever"
    )


class TokenRow(ResponseModel):
    token_id: UUID
    name: str = Field(examples=["ci"])
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None = Field(description="to the minute")


class MadeToken(TokenRow):
    token: str = Field(description="the secret: it is not shown again", examples=["sched_…"])


class ListedToken(TokenRow):
    stands: bool


class TokenPage(Page):
    items: list[ListedToken]


class Me(ResponseModel):
    """Who calls."""

    name: str = Field(examples=["ci"])
    scope: Scope
