"""The OpenAPI document: what FastAPI knows, and what holds for every route: who may call, and how errors look."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from scheduler_core.web.access.authentication import PUBLIC
from scheduler_core.web.access.browser import COOKIE
from scheduler_core.web.documented import SCHEMA, document

ALWAYS = (400, 401, 403, 408, 413, 422, 429, 503)
"""Problems that any call may meet."""

PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `type` is stable; `detail` is for people.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"where": {"type": "string"}, "what": {"type": "string"}}},
        },
    },
    "examples": [
        {
            "type": "urn:scheduler-core:job-not-found",
            "title": "Not found",
            "status": 404,
            "detail": "there is no job 'daily_report'",
        }
    ],
}

SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "`scheduler tokens create NAME` makes one"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "of a browser that signed in"},
}


def install(app: FastAPI) -> None:
    """Have the application document itself so."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas[SCHEMA] = PROBLEM
    components["securitySchemes"] = SECURITY
    for path, operations in made["paths"].items():
        if path not in PUBLIC:
            for operation in operations.values():
                operation["security"] = [{name: []} for name in SECURITY]
                operation["responses"] |= {str(status): document(status) for status in ALWAYS}
    return made
