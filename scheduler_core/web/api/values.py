"""Values that come in from outside, as far as they can be wrong before anybody is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

from scheduler_core.container import Container
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.jobs.fields import check_name
from scheduler_core.domain.runs.run import RunStatus
from scheduler_core.web.access import Caller, require
from scheduler_core.web.slashes import with_slashes
from scheduler_core.web.state import get_container

FIRST_YEAR, LAST_YEAR = 1970, 9998


@dataclass(frozen=True, slots=True)
class AnyCase:
    """Marks a choice (`Annotated[Overlap, AnyCase()]`) whose words are taken in any case, and documented so."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(_lower, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        words = handler(schema)
        listed = handler.resolve_ref_schema(words)["enum"]
        pattern = "|".join("".join(_either_case(letter) for letter in word) for word in listed)
        return {"anyOf": [words, {"type": "string", "pattern": f"^({pattern})$", "description": "in any case"}]}


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) and value.isascii() else value


def _either_case(letter: str) -> str:
    return f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter


def _in_utc(moment: datetime) -> datetime:
    """An instant in UTC; one without a time zone is taken to be. Of years that every part can do arithmetic with."""
    if not FIRST_YEAR < moment.year < LAST_YEAR:
        raise ValueError(f"give an instant of the years {FIRST_YEAR + 1} to {LAST_YEAR - 1}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_in_utc)]
Limit = Annotated[int, Query(ge=1, le=1_000, description="the most items")]
Cursor = Annotated[str | None, Query(max_length=1_000, description="`next_cursor` of the page before")]
Since = Annotated[Instant | None, Query(description="from this instant on")]
Until = Annotated[Instant | None, Query(description="up to this instant")]
JobFilter = Annotated[
    Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_name)] | None,
    Query(description="only this job's"),
]

Statuses = Annotated[
    list[Annotated[RunStatus, AnyCase()]] | None, Query(description="only these; may be repeated, in any case")
]

Viewer = Annotated[Caller, Depends(require(Scope.VIEWER))]
Operator = Annotated[Caller, Depends(require(Scope.OPERATOR))]
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]
ContainerDep = Annotated[Container, Depends(get_container)]


def _check_path_name(name: str) -> str:
    found: str = check_name(with_slashes(name))
    return found


PathName = Annotated[
    str,
    Path(min_length=1, max_length=200, description="a / in it is written %2F", examples=["daily_report"]),
    AfterValidator(_check_path_name),
]
"""A name as part of an address."""
