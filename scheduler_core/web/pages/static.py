"""The files that pages load. They are read once, and only they can be asked for: no path reaches the file system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from fastapi.responses import Response

from scheduler_core.web.problem import Problem

router = APIRouter()

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
NAMES = (
    "dashboard.css",
    "dashboard.js",
    "theme.js",
    "chart.js",
    "mark.svg",
    "vendor/htmx.min.js",
    "vendor/hx-sse.min.js",
    "vendor/uPlot.iife.min.js",
    "vendor/uPlot.min.css",
)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file; its address changes with what is in it, so that browsers may keep it for ever."""

    name: str
    content: bytes
    media_type: str
    digest: str

    @property
    def address(self) -> str:
        """Its path below the root of the application."""
        return f"/static/{self.name}?v={self.digest[:12]}"


def _read(name: str) -> StaticFile:
    content = (resources.files("scheduler_core.web") / "static" / name).read_bytes()
    media_type = MEDIA_TYPES[PurePosixPath(name).suffix]
    return StaticFile(name, content, media_type, hashlib.sha256(content).hexdigest())


FILES = {name: _read(name) for name in NAMES}


@router.get("/static/{name:path}")
async def static_file(request: Request, name: str) -> Response:
    """A file, for anybody: there are no secrets in them."""
    found = FILES.get(name)
    if found is None:
        raise Problem(404, "no-such-address", "there is no such file")
    etag = f'"{found.digest[:32]}"'
    is_versioned = request.query_params.get("v") == found.digest[:12]
    headers = {
        "ETag": etag,
        "Cache-Control": "public, max-age=31536000, immutable" if is_versioned else "public, max-age=60",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
