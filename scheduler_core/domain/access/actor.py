"""Who changes a job or a calendar: what the log says of each change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """By which door a change came."""

    CODE = "code"
    """A service's own code."""
    CLI = "cli"
    """A person, with the command line."""
    API = "api"
    """A request, with a token."""
    SCHEDULER = "scheduler"
    """The scheduler by itself: it disables a job after failures."""
    SQL = "sql"
    """None of these: a session that says nothing of itself, as psql."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who it was: `instance@host` for code, `user@host` for a person, `token NAME` for a request."""

    source: Source
    name: str
