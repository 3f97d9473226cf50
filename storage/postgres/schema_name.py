"""The name of the scheduler's schema: it stands in every statement, so it is a plain identifier."""

from __future__ import annotations

import re

from scheduler_core.domain.errors import InvalidSettingsError

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,39}\Z")


def check_schema_name(schema: str) -> str:
    """The schema's name if it is a plain identifier of at most 40 characters.

    Raises InvalidSettingsError otherwise: the name is written into statements.
    """
    if not _IDENTIFIER.match(schema):
        raise InvalidSettingsError(
            f"schema {schema!r} is not a plain name: use a-z, 0-9 and _, starting with a letter, 40 characters"
        )
    return schema
