"""The zone data that tests compare with: whichever release is newer, found without the product."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import tzdata


def use_newer_zones() -> None:
    """Have `zoneinfo` read the package where that is the newer one, in this process: by itself it takes the host's."""
    host = max((_release(Path(folder)) for folder in zoneinfo.TZPATH), default="")
    if host <= tzdata.IANA_VERSION:
        zoneinfo.reset_tzpath(())
        zoneinfo.ZoneInfo.clear_cache()


def _release(folder: Path) -> str:
    try:
        with (folder / "tzdata.zi").open(encoding="utf-8") as file:
            return file.readline().removeprefix("# version").strip()
    except OSError:
        return ""
