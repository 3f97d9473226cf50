"""This machine."""

from __future__ import annotations

import socket


def host_name() -> str:
    """This machine's name, for people; identity never rests on it (oban-py #32)."""
    return socket.gethostname() or "unknown"
