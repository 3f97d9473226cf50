"""Which version of us is installed."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version of scheduler-core."""
    try:
        return metadata.version("scheduler-core")
    except metadata.PackageNotFoundError:
        return "0+unknown"
