"""Where Postgres is, by `database_url` and `control_database_url`, and the one way a session with it is opened.

The driver reads the URL itself, as libpq would. SQLAlchemy's dialect would hand each parameter to asyncpg as an
argument, which has none called `sslmode`; and two readers of one URL could differ about who is encrypted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.storage.postgres.first_host import open_first, urls_of_hosts

FORM = "write postgresql://user:password@host:5432/database"
TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
TAKEN = frozenset(
    {
        *("host", "port", "user", "password", "dbname", "passfile", "service", "target_session_attrs"),
        *("connect_timeout", "application_name", "options", "channel_binding"),
        *("sslmode", *FILES, "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)
"""What may follow the `?`. asyncpg would make any other word a setting of the session, and the server refuse it."""

NOT_TAKEN = frozenset(
    {
        *("hostaddr", "client_encoding", "fallback_application_name", "require_auth", "requirepeer", "replication"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("gssencmode", "krbsrvname", "gsslib", "gssdelegation", "load_balance_hosts", "sslcompression", "sslsni"),
        *("sslcertmode", "sslcrldir", "scram_client_key", "scram_server_key", "min_protocol_version"),
        *("max_protocol_version", "servicefile", "sslkeylogfile"),
    }
)
"""libpq's other parameters, which the driver does not have: named in the refusal, because they are no secret."""

NOT_OURS = frozenset({"connect_timeout", "application_name", "options", "channel_binding"})
"""What this module reads itself, and the driver does not know."""

_SEVERAL_HOSTS = re.compile(
    r"(?P<scheme>[^:/?#]+://)(?P<login>[^/?#]*@)?(?P<hosts>[^/?#@]*,[^/?#@]*)(?P<rest>.*)", re.DOTALL
)


def parse_url(url: str) -> URL:
    """A Postgres URL in any of its usual spellings, for the asyncpg driver; several hosts are those of a failover.

    Raises InvalidSettingsError for what is no Postgres URL; the message shows no password.
    """
    try:
        parsed = make_url(_with_hosts_as_parameter(url.strip()))
    except (ArgumentError, ValueError):
        raise InvalidSettingsError(f"database_url can't be read; {FORM}") from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidSettingsError(
            f"database_url names {parsed.get_backend_name()!r}; this scheduler keeps its jobs in PostgreSQL: {FORM}"
        )
    _check_parameters(parsed)
    return parsed.set(drivername="postgresql+asyncpg")


def _with_hosts_as_parameter(url: str) -> str:
    """`//h1:p1,h2:p2/db` as `///db?host=h1:p1,h2:p2`, which the driver reads the same and SQLAlchemy can hold."""
    several = _SEVERAL_HOSTS.fullmatch(url)
    if several is None:
        return url
    rest, mark, query = several["rest"].partition("?")
    hosts = f"host={quote(several['hosts'], safe='')}"
    return f"{several['scheme']}{several['login'] or ''}{rest or '/'}?{hosts}{'&' if mark else ''}{query}"


def _check_parameters(url: URL) -> None:
    if "ssl" in url.query:
        raise InvalidSettingsError(f"database_url: write sslmode= instead of ssl=: one of {', '.join(TLS_MODES)}")
    if others := sorted(url.query.keys() & NOT_TAKEN):
        raise InvalidSettingsError(
            f"database_url: the parameter {others[0]} of libpq is not supported here: leave it out"
        )
    if not url.query.keys() <= TAKEN:
        # The word may be the rest of a password with a ? in it.
        raise InvalidSettingsError(
            f"database_url has a parameter that is not known (a password's ? is written %3F): there are "
            f"{', '.join(sorted(TAKEN))}"
        )
    if not all(isinstance(value, str) for value in url.query.values()):
        raise InvalidSettingsError("database_url gives a parameter twice: leave one of them")
    if url.query.get("sslmode", "prefer") not in TLS_MODES:
        raise InvalidSettingsError(f"database_url: sslmode is one of {', '.join(TLS_MODES)}")
    if url.query.get("channel_binding", "prefer") not in ("disable", "prefer"):
        raise InvalidSettingsError(
            "database_url: channel_binding is disable or prefer: the driver can't bind a login to its channel, so "
            "use sslmode=verify-full to know whom it talks to"
        )
    if not str(url.query.get("connect_timeout", "0")).isdigit():
        raise InvalidSettingsError("database_url: connect_timeout is a whole number of seconds")


def server_name(url: URL) -> str:
    """`host:port/database`: enough to recognize the server, and no password."""
    database = url.database or ""
    if "service" in url.query and not url.host:
        return f"service {url.query['service']}"
    hosts = str(url.query.get("host", ""))
    if hosts and not url.host:
        ports = str(url.query.get("port", "5432"))
        return f"{hosts if ':' in hosts else f'{hosts}:{ports}'}/{database}"
    return f"{url.host or 'localhost'}:{url.port or 5432}/{database}"


async def open_session(
    url: URL, *, timeout_seconds: float, application_name: str = "scheduler", **options: Any
) -> asyncpg.Connection[Any]:
    """A session with the server, encrypted as the URL's `sslmode` says (default: where the server can).

    Parameters: timeout_seconds, to connect to each host, unless the URL says; application_name, put before that of the
    URL; options, of asyncpg.
    Raises InvalidSettingsError where the URL names a file that can't be read, and whatever asyncpg raises.
    """
    for name in FILES:
        path = url.query.get(name)
        if isinstance(path, str) and not os.access(path, os.R_OK):
            raise InvalidSettingsError(f"database_url: {name} is {path}, which can't be read: correct the path")
    given = {name: str(value) for name, value in url.query.items()}
    settings = {"application_name": " ".join(filter(None, (application_name, given.get("application_name"))))[:63]}
    if "options" in given:
        settings["options"] = given["options"]

    async def open_one(host: URL) -> asyncpg.Connection[Any]:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            host.set(drivername="postgresql").difference_update_query(NOT_OURS).render_as_string(hide_password=False),
            timeout=float(given.get("connect_timeout", 0)) or timeout_seconds,
            server_settings=settings,
            **options,
        )
        return connection

    return await open_first(urls_of_hosts(url), open_one)


SESSION_SETTINGS = {
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}
"""What our statements rest on, whatever the role, the database or the server has for a default: under `serializable`
claims fail each other; and how long they may take is limited here, where it is known what is waited for.

Not `default_transaction_read_only`: whoever switches that on means everybody."""

# No setting is made where another process than the one that greeted us answers: that is a pooler's, and the next
# transaction, somebody else's, may be the next to use it.
_SETTLE = """
SELECT pg_backend_pid() = $3 AS is_direct, count(set_config(s.name, s.value, false)) AS settled
FROM unnest(CAST($1 AS text[]), CAST($2 AS text[])) AS s (name, value)
WHERE pg_backend_pid() = $3
"""


async def open_settled_session(
    url: URL, *, timeout_seconds: float, settings: Mapping[str, str] = SESSION_SETTINGS, **options: Any
) -> tuple[asyncpg.Connection[Any], bool]:
    """A session that has these settings, and whether it has: not where a transaction pooler stands between.

    Parameters and errors as of `open_session`.
    """
    connection = await open_session(url, timeout_seconds=timeout_seconds, **options)
    try:
        # Not as it is opened: a pooler refuses parameters that it does not know.
        return connection, await _settle(connection, settings)
    except BaseException:
        # A cancellation too: nobody knows yet that there is a session to close.
        connection.terminate()
        raise


async def _settle(connection: asyncpg.Connection[Any], settings: Mapping[str, str]) -> bool:
    """Make these settings the session's; False, and nothing done, where a transaction pooler stands between."""
    try:
        row = await connection.fetchrow(_SETTLE, list(settings), list(settings.values()), connection.get_server_pid())
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError):
        return False
    return bool(row is not None and row["is_direct"])


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

    async def open_one() -> asyncpg.Connection[Any]:
        connection, _ = await open_settled_session(url, timeout_seconds=5.0)
        return connection

    return create_async_engine("postgresql+asyncpg://", async_creator=open_one, poolclass=NullPool)
