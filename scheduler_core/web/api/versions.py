"""ETag and If-Match: an operator changes what they saw, or nothing."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header
from fastapi.responses import Response

from scheduler_core.web.problem import Problem

PATTERN = r'^(\*|(W/)?"[0-9]{1,18}")$'
_NUMBER = re.compile("[0-9]+")

Given = Annotated[
    str | None,
    Header(alias="If-Match", description='the ETag of what you saw, as "3"; * for whatever stands', pattern=PATTERN),
]


def tag(response: Response, version: int) -> None:
    """Say which version this answer shows."""
    response.headers["ETag"] = f'"{version}"'


def seen_if_said(if_match: Given = None) -> int | None:
    """The version that the caller saw; None for any."""
    found = _NUMBER.search(if_match or "")
    return None if found is None else int(found[0])


def seen_or_refused(if_match: Given = None) -> int | None:
    """The same, for changes that overwrite: who does not say what they saw is refused."""
    if if_match is None:
        raise Problem(
            428, "version-required", 'send If-Match with the ETag of the answer that you saw, as "3", or * to overwrite'
        )
    return seen_if_said(if_match)


SeenIfSaid = Annotated[int | None, Depends(seen_if_said)]
Seen = Annotated[int | None, Depends(seen_or_refused)]
