"""Debian's PgBouncer before the tests' Postgres, handing out server processes by transaction."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from waiting import eventually

POOLER = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 20
server_reset_query =
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pooled(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of this database behind a transaction pooler, where PgBouncer is installed."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    target = psycopg.conninfo.conninfo_to_dict(database_url)
    port = free_port()
    users = tmp_path / "users.txt"
    users.write_text(f'"{target["user"]}" "{target["password"]}"\n')
    configuration = tmp_path / "pgbouncer.ini"
    configuration.write_text(POOLER.format(host=target["host"], port=target["port"], listen=port, users=users))
    for path in (tmp_path, users, configuration):
        path.chmod(0o755)
    as_somebody = ["-u", "nobody"] if os.geteuid() == 0 else []
    url = f"postgresql://{target['user']}@127.0.0.1:{port}/{target['dbname']}"
    with (tmp_path / "pgbouncer.log").open("wb") as log:
        pooler = subprocess.Popen([program, *as_somebody, str(configuration)], stdout=log, stderr=log)
    try:
        eventually(lambda: answers(url), what=f"PgBouncer; its log is in {tmp_path}")
        yield url
    finally:
        pooler.terminate()
        pooler.wait(10)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
