"""Templates and what they call. Everything is escaped unless it was made here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined

from scheduler_core.domain.access.access import Scope
from scheduler_core.web.pages import wording
from scheduler_core.web.pages.static import FILES

SECTIONS = (
    ("overview", "/", "Overview", "o"),
    ("jobs", "/jobs", "Jobs", "j"),
    ("runs", "/runs", "Runs", "r"),
    ("replicas", "/replicas", "Replicas", "p"),
    ("calendars", "/calendars", "Calendars", "c"),
    ("audit", "/audit", "Audit", "a"),
)
"""The screens in the bar: name, path, words, and the key that follows `g`."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, compiled once per process. An undefined name is an error, not an empty space."""
    made = Environment(
        loader=PackageLoader("scheduler_core.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        span=wording.span,
        rate=wording.rate,
        count=wording.count,
        plural=wording.plural,
        schedule_words=wording.schedule_words,
        strip_words=wording.strip_words,
        changed_fields=wording.changed_fields,
        json=_json,
    )
    made.globals.update(
        when=wording.when,
        ago=wording.ago,
        job_state=wording.job_state,
        sections=SECTIONS,
        operator=Scope.OPERATOR,
        static=lambda name: FILES[name].address,
    )
    return made


def _json(value: Any) -> str:
    """For an attribute: what stands in the page is escaped like any other text."""
    return json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def link_in(root: str, path: str, **parameters: Any) -> str:
    """An address of ours, wherever the application is mounted; parameters that are None or "" are left out."""
    given = [(name, value) for name, value in parameters.items() if value is not None and value != ""]
    query = urlencode([(name, str(value)) for name, value in given])
    return f"{root}{path}?{query}" if query else f"{root}{path}"


def render_part(name: str, root: str, context: Mapping[str, Any]) -> str:
    """A template that needs no request."""

    def link(path: str, **parameters: Any) -> str:
        return link_in(root, path, **parameters)

    return environment().get_template(name).render(**context, link=link, root=root)


def render(request: Request, name: str, **context: Any) -> str:
    """A template for one request: its caller, if somebody has signed in, and its address."""
    caller = getattr(request.state, "caller", None)
    root = request.scope.get("root_path", "")
    return render_part(
        name, root, {"caller": caller, "csrf_token": getattr(caller, "csrf_token", None), "view": None, **context}
    )
