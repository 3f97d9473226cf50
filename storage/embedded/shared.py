"""Embedded servers that several parts of one process use: they end with the last that gives them back."""

from __future__ import annotations

import threading
from pathlib import Path

from scheduler_core.storage.embedded import EmbeddedServers, default_folder, start

_using = threading.Lock()
_servers: dict[Path, EmbeddedServers] = {}
_users: dict[Path, int] = {}


def take(data_dir: Path | str | None = None) -> EmbeddedServers:
    """The servers of this folder, started or attached to by whoever comes first in this process.

    Raises EmbeddedServerError.
    """
    with _using:
        folder = Path(data_dir if data_dir is not None else default_folder()).expanduser().resolve()
        if folder not in _servers:
            _servers[folder] = start(folder)
        _users[folder] = _users.get(folder, 0) + 1
        return _servers[folder]


def give_back(servers: EmbeddedServers) -> None:
    """Use them no more; the last one stops them, if this process started them."""
    with _using:
        folder = servers.data_dir
        _users[folder] -= 1
        if _users[folder] == 0:
            del _users[folder]
            _servers.pop(folder).stop()
