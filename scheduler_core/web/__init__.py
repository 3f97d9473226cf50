"""The scheduler over HTTP (extra `web`): a thin face over the container, as the command line is.

`app` puts the application together: `api` (JSON under /api/v1), `pages` (the dashboard), `health` (for machines).
`access` says who calls and what they may; `problem` turns errors into application/problem+json, `security_headers` are
what every answer carries; `server` serves it all, inside a replica or alone. Whoever mounts the application into one of
their own needs `create_app` and `scheduler_lifespan`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {"create_app": "app", "scheduler_lifespan": "lifespan"}

__all__ = ["create_app", "scheduler_lifespan"]


if not TYPE_CHECKING:  # else a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        require_extra()
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def require_extra() -> None:
    """Raises InvalidSettingsError, which says what to install, where the extra `web` is missing."""
    from scheduler_core.domain.errors import InvalidSettingsError

    try:
        for library in ("fastapi", "uvicorn", "jinja2", "python_multipart", "prometheus_client"):
            importlib.import_module(library)
    except ImportError as error:
        raise InvalidSettingsError(
            f"serving the API needs the extra 'web' ({error}): pip install 'scheduler-core[web]'"
        ) from None


if TYPE_CHECKING:
    from scheduler_core.web.app import create_app
    from scheduler_core.web.lifespan import scheduler_lifespan
