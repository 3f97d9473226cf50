"""What every body has in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from scheduler_core.domain.jobs.fields import check_name, check_text

INSTANT = "2026-11-23T14:30:00Z"
RUN_ID = "019ab1f0-5c80-7a3e-9d41-6f0c2b8e7a15"
Seconds = Annotated[
    timedelta,
    PlainSerializer(lambda value: value.total_seconds(), return_type=float),
    WithJsonSchema({"type": "number", "description": "seconds"}, mode="serialization"),
]
Note = Annotated[str, Field(max_length=1_000), AfterValidator(lambda text: check_text(text, 1_000))]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_name)]


class ResponseModel(BaseModel):
    """What we answer: keys that a later version adds are no break."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)


class RequestModel(BaseModel):
    """What we are asked: a key that nobody knows is a mistake, and said so."""

    model_config = ConfigDict(extra="forbid")


class Page(ResponseModel):
    """A page of a listing; `next_cursor` asks for the one after it, null: this is the last."""

    next_cursor: str | None = None
