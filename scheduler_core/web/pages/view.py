"""A view: what one screen shows, as a function of its address; shown whole by `screens`, and again by `stream`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduler_core.container import Container
from scheduler_core.domain.page import Page, page_from
from scheduler_core.domain.runs.run_filter import RunFilter
from scheduler_core.web.pages.activity import Activity
from scheduler_core.web.problem import Problem

MOST_VALUE_CHARACTERS = 400
"""Longer than any job id or cursor."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a view reads for.

    `values` are the parameters of its address, "" where none is given; `now` is the database's time.
    """

    container: Container
    values: Mapping[str, str]
    now: datetime
    activity: Activity

    def value(self, name: str) -> str | None:
        """A parameter; None where it is not given."""
        return self.values.get(name) or None

    def instant(self, name: str) -> datetime | None:
        """A parameter that is an instant, in UTC unless it says otherwise. Raises Problem 400."""
        from scheduler_core.domain.errors import InvalidScheduleError
        from scheduler_core.domain.schedule import parse_instant

        text = self.value(name)
        if text is None:
            return None
        try:
            return parse_instant(text, "UTC")
        except InvalidScheduleError as error:
            raise Problem(400, "bad-parameter", f"{name}: {error}") from None

    def choice(self, name: str, choices: Mapping[str, str]) -> str | None:
        """A parameter that is one of these; None where it is not given. Raises Problem 400."""
        text = self.value(name)
        if text is not None and text not in choices:
            text = text.lower()
        if text is not None and text not in choices:
            raise Problem(400, "bad-parameter", f"{name} can't be {text[:80]!r}: give one of {', '.join(choices)}")
        return text


@dataclass(frozen=True, slots=True)
class View:
    """One screen.

    `name` names its template, `path` is where it stands, `parameters` are those of its address that it knows, `read`
    says what is on it, `title` what a browser's tab says. `is_live`: it changes by itself, so the stream shows it.
    """

    name: str
    path: str
    title: Callable[[Mapping[str, Any]], str]
    read: Callable[[Asked], Awaitable[dict[str, Any]]]
    parameters: tuple[str, ...] = ()
    is_live: bool = True
    section: str = field(default="")

    def pick(self, given: Mapping[str, str]) -> dict[str, str]:
        """The parameters of an address that this view knows. Raises Problem 400 for one that is too long."""
        picked = {name: given.get(name, "") for name in self.parameters}
        for name, text in picked.items():
            if len(text) > MOST_VALUE_CHARACTERS or "\x00" in text:
                raise Problem(400, "bad-parameter", f"{name} is too long, or holds what no name does")
        return picked


async def page_of(listing: Awaitable[Page]) -> Page:
    """A page of a listing. Raises Problem 400 where its cursor can't be read."""
    try:
        return await listing
    except (ValueError, OverflowError):
        raise bad_cursor() from None


def bad_cursor() -> Problem:
    """Somebody made a cursor up."""
    return Problem(400, "bad-cursor", "this is no place to go on from: begin at the first page")


async def runs_of(container: Container, wanted: RunFilter, before: str | None, limit: int) -> Page:
    """A page of runs, the latest first. Raises Problem 400 for a cursor that can't be read."""
    key = "run_id" if wanted.job_id is None else "scheduled_for"
    try:
        cursor = None if before is None else UUID(before) if wanted.job_id is None else _instant(before)
    except ValueError:
        raise bad_cursor() from None
    rows = await container.get_pages().runs(wanted, before=cursor, limit=limit + 1)
    return page_from(rows, limit, key)


async def terms_of(container: Container, before: str | None, limit: int) -> Page:
    """A page of terms, the latest first. Raises Problem 400 for a cursor that can't be read."""
    if before is not None and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise bad_cursor()
    rows = await container.get_pages().terms(before=None if before is None else int(before), limit=limit + 1)
    return page_from(rows, limit, "term")


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return instant
