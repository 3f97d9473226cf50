"""Families of tables that come and go."""

from __future__ import annotations

from pydantic import Field

from scheduler_core.web.api.schemas.base import ResponseModel


class Family(ResponseModel):
    """A table family and what is there of it."""

    schema_name: str = Field(examples=["scheduler"])
    family: str = Field(examples=["runs"])
    partitioned: bool
    days_ahead: int = Field(examples=[3])
    retention_days: int | None = Field(examples=[30])
    tables: int | None = Field(examples=[33])
    first_table: str | None = Field(examples=["runs_20261024"])
    last_table: str | None = Field(examples=["runs_20261126"])
    days_left: int | None = Field(examples=[3])
    is_short: bool | None


class Families(ResponseModel):
    items: list[Family]
