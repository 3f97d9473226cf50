"""Names with a slash in them: `%2F` is part of a name, and `/` parts two."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

STAND_IN = "\ue000"
"""Of the private use area: not printable, so that no name of ours can hold it."""


def with_slashes(name: str) -> str:
    """A name as the path had it."""
    return name.replace(STAND_IN, "/")


class EncodedSlashes:
    """Servers decode a path before it is routed, and a job called `a/b` would be two steps of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path")
        if scope["type"] == "http" and raw is not None and b"%2f" in raw.lower():
            path = raw.partition(b"?")[0].decode("ascii", "replace")
            parts = path.replace("%2f", "%2F").split("%2F")
            scope = {**scope, "path": STAND_IN.join(unquote(part) for part in parts)}
        await self._app(scope, receive, send)
