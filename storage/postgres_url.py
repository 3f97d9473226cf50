"""Where Postgres is, by `database_url` and `control_database_url`, and the one way a session with it is opened.

The driver reads the URL itself, as libpq would. SQLAlchemy's dialect would hand each parameter to asyncpg as an
argument, which has none called `sslmode`; and two readers of one URL could differ about who is encrypted.
"""

from __future__ import annotations

import os
from typing import Any

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from scheduler_core.domain.errors import InvalidSettingsError

FORM = "write postgresql://user:password@host:5432/database"
TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
PARAMETERS = frozenset(
    {
        *("host", "port", "user", "password", "dbname", "passfile", "target_session_attrs"),
        *("sslmode", *FILES, "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)
"""What may follow the `?`. asyncpg would make any other word a setting of the session, and the server refuse it."""


def parse_url(url: str) -> URL:
    """A Postgres URL in any of its usual spellings, for the asyncpg driver.

    Raises InvalidSettingsError for what is no Postgres URL; the message shows no password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidSettingsError(f"database_url can't be read; {FORM}") from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidSettingsError(
            f"database_url names {parsed.get_backend_name()!r}; this scheduler keeps its jobs in PostgreSQL: {FORM}"
        )
    _check_parameters(parsed)
    return parsed.set(drivername="postgresql+asyncpg")


def _check_parameters(url: URL) -> None:
    if "ssl" in url.query:
        raise InvalidSettingsError(f"database_url: write sslmode= instead of ssl=: one of {', '.join(TLS_MODES)}")
    if not url.query.keys() <= PARAMETERS:
        # The word may be the rest of a password with a ? in it.
        raise InvalidSettingsError(
            f"database_url has a parameter that is not known (a password's ? is written %3F): there are "
            f"{', '.join(sorted(PARAMETERS))}"
        )
    if not all(isinstance(value, str) for value in url.query.values()):
        raise InvalidSettingsError("database_url gives a parameter twice: leave one of them")
    if url.query.get("sslmode", "prefer") not in TLS_MODES:
        raise InvalidSettingsError(f"database_url: sslmode is one of {', '.join(TLS_MODES)}")


def server_name(url: URL) -> str:
    """`host:port/database`: enough to recognize the server, and no password."""
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"


async def open_session(
    url: URL, *, timeout_seconds: float, application_name: str = "scheduler", **options: Any
) -> asyncpg.Connection[Any]:
    """A session with the server, encrypted as the URL's `sslmode` says (default: where the server can).

    Parameters: timeout_seconds, to connect; options, of asyncpg.
    Raises InvalidSettingsError where the URL names a file that can't be read, and whatever asyncpg raises.
    """
    for name in FILES:
        path = url.query.get(name)
        if isinstance(path, str) and not os.access(path, os.R_OK):
            raise InvalidSettingsError(f"database_url: {name} is {path}, which can't be read: correct the path")
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False),
        timeout=timeout_seconds,
        server_settings={"application_name": application_name[:63]},
        **options,
    )
    return connection


def let_go_of(connection: asyncpg.Connection[Any]) -> None:
    """In a forked child: close the socket that it inherited, without a word to the server. The parent keeps its own."""
    # The number of a socket that was closed may belong to another file by now.
    transport = None if connection.is_closed() else getattr(connection, "_transport", None)
    inherited = transport.get_extra_info("socket") if transport is not None else None
    if inherited is None or inherited.fileno() < 0:
        return
    # /dev/null takes the number's place: objects that still believe in the socket can't hit a file that the child
    # opens later.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, inherited.fileno())
    os.close(nothing)


def engine_of_single_sessions(url: URL) -> AsyncEngine:
    """For migrations: each connection is a session of its own, and ends with its use."""
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: open_session(url, timeout_seconds=5.0), poolclass=NullPool
    )
