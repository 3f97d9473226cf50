"""Which problems a route may answer with, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from scheduler_core.web.problem import MEDIA_TYPE, TITLES

SCHEMA = "Problem"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`."""
    return {status: document(status) for status in statuses}


def document(status: int) -> dict[str, Any]:
    """One of them, as OpenAPI has it."""
    return {
        "description": TITLES[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{SCHEMA}"}}},
    }
