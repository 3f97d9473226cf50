"""Of several hosts in one URL, the first that is of use: none may keep the others from being asked.

The driver asks them one after the other, under one time-out. A host that has lost its power answers nothing, and
would use all of it up, each time: a standby named behind it is never reached. libpq gives each host a time-out of its
own, and would come to the standby after seconds. Here the next host is asked as soon as the one before it has failed,
or has been silent for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy.engine import URL

Session: TypeAlias = "asyncpg.Connection[Any]"
Open: TypeAlias = "Callable[[URL], Awaitable[Session]]"

PATIENCE_SECONDS = 0.25
"""A server that is well has let somebody in by then, over TLS and from another region."""

_NO_USE_YET = (asyncpg.TargetServerAttributeNotMatched, asyncpg.CannotConnectNowError)

_ASKS_ALL = "prefer-standby"
"""Which of them is right is only known once all have answered: that is the driver's."""


def urls_of_hosts(url: URL) -> list[URL]:
    """One URL for each host that this one names."""
    hosts = str(url.query.get("host", "")).split(",")
    if len(hosts) == 1 or url.query.get("target_session_attrs") == _ASKS_ALL:
        return [url]
    ports = str(url.query["port"]).split(",") if "port" in url.query else []
    if len(ports) not in (0, 1, len(hosts)):
        return [url]  # the driver says what is wrong with it
    each = ports * len(hosts) if len(ports) == 1 else ports
    return [
        url.update_query_dict({"host": host} | ({"port": each[number]} if each else {}))
        for number, host in enumerate(hosts)
    ]


async def open_first(urls: Sequence[URL], open_one: Open) -> Session:
    """A session with the first of these servers that takes one.

    One that is of no use yet, as a standby that is about to be promoted, is asked again while another is silent. Raises
    what the most telling of them said: a refusal of the server before one to be of use, before a silence.
    """
    if len(urls) == 1:
        return await open_one(urls[0])
    waiting, no_use_yet = list(urls), list[URL]()
    asked: dict[asyncio.Task[Session], URL] = {}
    errors: list[BaseException] = []
    chosen: Session | None = None
    try:
        while chosen is None and (waiting or asked):
            if waiting:
                url = waiting.pop(0)
                asked[asyncio.ensure_future(open_one(url))] = url
            patience = PATIENCE_SECONDS if waiting or no_use_yet else None
            answered, _ = await asyncio.wait(asked, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not answered:
                waiting, no_use_yet = waiting + no_use_yet, []
            for task in answered:
                url = asked.pop(task)
                if (error := task.exception()) is not None:
                    errors.append(error)
                    if isinstance(error, _NO_USE_YET):
                        no_use_yet.append(url)
                elif chosen is None:
                    chosen = task.result()
                else:
                    task.result().terminate()
    finally:
        await _give_up(asked)
    if chosen is not None:
        return chosen
    raise max(errors, key=_how_telling)


async def _give_up(asked: Iterable[asyncio.Task[Session]]) -> None:
    asked = list(asked)
    for task in asked:
        task.cancel()
    # What they raise tells nobody anything: another has been chosen, or whoever asked is being cancelled.
    for ended in await asyncio.gather(*asked, return_exceptions=True):
        if not isinstance(ended, BaseException):
            ended.terminate()


def _how_telling(error: BaseException) -> int:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return 1
    return 2 if isinstance(error, asyncpg.PostgresError) else 0
