"""Servers of Debian's packages, for what those of the wheels can't do: another version of Postgres, and TLS.

`make setup` installs them where it may. Without them the tests are skipped, and say so.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

REDIS_PROGRAMS = ("valkey-server", "redis-server", "redis-check-rdb")
"""The last is the server under another name: it looks at what it was called by."""


def lacking(what: str, package: str) -> None:
    """Skip, and say how not to."""
    pytest.skip(f"THERE IS NO {what}, so this is not tested: apt-get install {package}, or `make setup` as root")


def postgres_bin() -> Path:
    """The programs of the newest Postgres of Debian's; it speaks TLS."""
    found = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "postgres").is_file()]
    if not found:
        lacking("Postgres with TLS", "postgresql-15")
    return max(found, key=lambda folder: int(folder.parent.name))


def redis_server(folder: Path) -> Path:
    """A Redis or Valkey that speaks TLS, as `folder/redis-server`."""
    for name in REDIS_PROGRAMS:
        found = shutil.which(name)
        if found and b"libssl" in Path(found).read_bytes():
            called = folder / "redis-server"
            called.symlink_to(found)
            return called
    lacking("Redis with TLS", "redis-tools")
    raise AssertionError
