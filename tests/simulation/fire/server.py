"""Where the fire path's worlds play: a Postgres of their own, in a folder that is thrown away afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scheduler_core import Container, load_settings
from scheduler_core.storage import embedded
from scheduler_core.storage.postgres import migrate

from ..machine import EPOCH
from .stepped_postgres import RealPostgres

SETTINGS = {"fsync": "off", "autovacuum": "off", "max_connections": "200", "synchronous_commit": "off"}
MEMORY = Path("/dev/shm")


@contextmanager
def own_postgres() -> Iterator[RealPostgres]:
    """One that is started for this, and stopped."""
    folder = tempfile.mkdtemp(prefix="scheduler-simulation-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
    servers = embedded.start(folder, postgres_settings=SETTINGS)
    try:
        migrate.upgrade(servers.database_url)
        real = prepared(servers.database_url)
        try:
            yield real
        finally:
            real.close()
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


def prepared(url: str) -> RealPostgres:
    """A migrated database, made ready for worlds."""
    asyncio.run(_create_days(url))
    return RealPostgres(url)


async def _create_days(url: str) -> None:
    container = Container(load_settings(database_url=url))
    try:
        await container.get_tables().create_history(EPOCH.date())
    finally:
        await container.close()
