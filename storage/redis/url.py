"""Where Redis is, by `redis_url`: one server, or the Sentinels that know which of several is the master.

The URL is read here and not by redis-py, which has no form for Sentinel, takes any word in the query for an argument
of its own (a misspelt one is a TypeError at the first call) and would let it lengthen the time-outs that a lease
rests on. No part of a URL stands in an error: where it can't be read, nobody knows which part is the password.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.runtime.task_ends import end_tasks

FORMS = (
    "write redis://user:password@host:6379/0 (rediss:// for TLS), unix:///path/to/socket, or "
    "redis+sentinel://user:password@host1:26379,host2:26379/mymaster/0 (rediss+sentinel:// for TLS)"
)
DEFAULT_PORT = 6379
SENTINEL_PORT = 26379

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:/@?#\s]+))(?::(?P<port>\d{1,5}))?\Z")


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _requirement(text: str) -> str:
    return {"required": "required", "optional": "optional", "none": "none"}[text.lower()]


FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(FILES, str),
    "ssl_password": str,
    "ssl_cert_reqs": _requirement,
    "ssl_check_hostname": _flag,
}
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True, repr=False)
class RedisAddress:
    """What a `redis_url` says.

    `hosts` are the Sentinels where `master` names what they watch, else the one server; none with a socket's `path`.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    master: str | None = None
    database: int = 0
    tls: bool = False
    login: Mapping[str, str] = field(default_factory=dict)
    sentinel_login: Mapping[str, str] = field(default_factory=dict)
    tls_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Enough to recognize the server, and no password."""
        if self.path is not None:
            return self.path
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return hosts if self.master is None else f"{self.master!r} by Sentinels {hosts}"

    def __repr__(self) -> str:
        """Without passwords."""
        return f"RedisAddress({self.name})"


def parse_redis_url(url: str) -> RedisAddress:
    """Read a `redis_url`. Raises InvalidSettingsError, which shows nothing of it."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"}:
        raise _unreadable("its scheme is not known")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    if "#" in rest or "@" in path:
        raise _unreadable("a password's @, /, ? or # is written %40, %2F, %3F or %23")
    options = _options(query)
    by_sentinel, tls = scheme.endswith("+sentinel"), scheme.startswith("rediss")
    socket, master, database = None, None, path.strip("/")
    if scheme == "unix":
        if hosts or not path:
            raise _unreadable("a socket's path is missing")
        socket, database = "/" + unquote(path), ""
    elif by_sentinel:
        master, _, database = (unquote(part) for part in database.partition("/"))
        if not master:
            raise _unreadable("the name that the Sentinels know the master by is missing after the hosts")
    address = RedisAddress(
        hosts=() if socket else _hosts(hosts, SENTINEL_PORT if by_sentinel else DEFAULT_PORT),
        path=socket,
        master=master,
        database=_database(options.pop("db", "") or database),
        tls=tls,
        login=_login(*(unquote(part) for part in user.partition(":")[::2])),
        sentinel_login=_login(*(options.pop(name, "") for name in SENTINEL_OPTIONS)),
        tls_options=_tls_options(options),
    )
    if len(address.hosts) > 1 and not by_sentinel:
        raise _unreadable("several hosts need redis+sentinel://")
    if address.sentinel_login and not by_sentinel:
        raise _unreadable("sentinel_username and sentinel_password need redis+sentinel://")
    if address.tls_options and not tls:
        raise _unreadable("options that begin with ssl_ need rediss:// or rediss+sentinel://")
    return address


def redis_server_name(url: str) -> str:
    """`host:port` of a Redis URL, or the Sentinels': enough to recognize the server, and no password."""
    return parse_redis_url(url).name


def connect(url: str, *, timeout_seconds: float) -> Redis:
    """A client that asks once and gives up after `timeout_seconds`; by Sentinel each connection is to today's master.

    redis-py retries ten times by default, each with a timeout of its own: longer than a lease lives.
    Raises InvalidSettingsError for what is no Redis URL, or names a file that can't be read.
    """
    address = parse_redis_url(url)
    for option in FILES:
        path = address.tls_options.get(option)
        if path is not None and not os.access(path, os.R_OK):
            raise InvalidSettingsError(f"redis_url: {option} is {path}, which can't be read: correct the path")
    tls: dict[str, Any] = {**address.tls_options} if address.tls else {}
    arguments = {
        **_limits(timeout_seconds),
        **address.login,
        "db": address.database,
        "decode_responses": True,
        # Whatever lies there is taken as it is, and goes back as it was.
        "encoding_errors": "surrogateescape",
        "health_check_interval": 0,
    }
    if address.master is not None:
        if address.tls:
            tls["ssl"] = True
        asking = {**_limits(timeout_seconds), **address.sentinel_login, **tls}
        sentinel = _Sentinels(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
        pool: ConnectionPool = _MasterPool(address.master, sentinel, **arguments, **tls)  # type: ignore[no-untyped-call]
    elif address.path is not None:
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=address.path, **arguments)
    else:
        host, port = address.hosts[0]
        if address.tls:
            tls["connection_class"] = SSLConnection
        pool = ConnectionPool(host=host, port=port, **arguments, **tls)
    client: Redis = Redis.from_pool(pool)
    return client


class _Sentinels(Sentinel):
    """All are asked at once, and the first that names a living master is believed.

    redis-py asks one after the other: one that swallows packets would use up the time of a renewal, and each of the
    next ones too. What the last one said that could not answer is the cause of the error, for `redis_answers.explain`.
    """

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        asked = [asyncio.ensure_future(sentinel.sentinel_masters()) for sentinel in self.sentinels]
        why: RedisError | None = None
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    masters: Any = await answer
                except RedisError as error:
                    why = error
                    continue
                state = masters.get(service_name)
                if state and self.check_master_state(state, service_name):
                    return str(state["ip"]), int(state["port"])
        finally:
            await end_tasks(*asked)
        raise MasterNotFoundError(service_name) from why


class _MasterPool(SentinelConnectionPool):
    """Connections to the master; the Sentinels' own, which nobody else knows of, are closed along with them."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


def _limits(timeout_seconds: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }


def _unreadable(why: str) -> InvalidSettingsError:
    return InvalidSettingsError(f"redis_url can't be read ({why}); {FORMS}")


def _options(query: str) -> dict[str, str]:
    known = {"db", *TLS_OPTIONS, *SENTINEL_OPTIONS}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _unreadable("what follows the ? is no list of name=value") from None
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= known:
        raise _unreadable(f"of the options that there are, each may be given once: {', '.join(sorted(known))}")
    return options


def _tls_options(options: Mapping[str, str]) -> dict[str, Any]:
    read = {}
    for name, text in options.items():
        try:
            read[name] = TLS_OPTIONS[name](text)
        except KeyError:
            values = "required, optional or none" if name == "ssl_cert_reqs" else "true or false"
            raise _unreadable(f"{name} is {values}") from None
    return read


def _hosts(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    found = [_HOST.match(part) for part in (text or "localhost").split(",")]
    hosts = []
    for match in found:
        port = int((match and match["port"]) or default_port)
        if match is None or not 0 < port < 65_536:
            raise _unreadable("a host is host, host:port or [IPv6]:port")
        hosts.append((match["six"] or unquote(match["name"]), port))
    return tuple(hosts)


def _login(username: str, password: str) -> dict[str, str]:
    return {name: text for name, text in (("username", username), ("password", password)) if text}


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise _unreadable("the database is a number")
    return int(text or 0)
