"""The webhook: one signed request per attempt, and what came of it.

httpx2 sends it: a maintained client with asynchronous timeouts and the system's certificates. The standard library's
bound each read and not the whole, so that a receiver that drips a byte a second would hold us for hours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from scheduler_core.domain.alerts.webhook import signed_headers
from scheduler_core.domain.errors import InvalidSettingsError

SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered: an HTTP status, or None and what happened instead."""

    status: int | None
    error: str | None


class Webhook:
    """Where notifications go.

    Parameters: url, the receiver's; keys, a signature is made with each; timeout_seconds, for the whole of an
    attempt, whatever the receiver does. Raises InvalidSettingsError where the extra is not installed.
    """

    def __init__(self, url: str, keys: Sequence[bytes], *, timeout_seconds: float) -> None:
        try:
            import httpx2
        except ImportError:
            raise InvalidSettingsError(
                "webhook_url is set, and the library that sends is missing: pip install 'scheduler-core[webhooks]'"
            ) from None
        self._library = httpx2
        self._url = url
        self._keys = tuple(keys)
        self.timeout_seconds = timeout_seconds
        parts = urlsplit(url)
        self.receiver = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        """Host and port, for people: path and query may hold a secret."""
        self._client: Any = None

    def __repr__(self) -> str:
        return f"Webhook({self.receiver})"

    async def send(self, message_id: str, body: bytes) -> Answer:
        """Make one attempt. Never raises for what a receiver or a network does."""
        headers = {
            "content-type": "application/json",
            "user-agent": "scheduler-core",
            **signed_headers(message_id, int(time.time()), body, self._keys),
        }
        try:
            async with (
                asyncio.timeout(self.timeout_seconds),
                # The answer's body is never read: it may be endless.
                self._open().stream("POST", self._url, content=body, headers=headers) as response,
            ):
                status = int(response.status_code)
        except TimeoutError:
            return Answer(None, f"{self.receiver} did not answer within {self.timeout_seconds:g} s")
        except (self._library.HTTPError, self._library.InvalidURL, OSError, ValueError) as error:
            what = str(error).replace(self._url, self.receiver)[:SHOWN_CHARACTERS]
            return Answer(None, f"{self.receiver} can't be reached ({type(error).__name__}: {what})")
        if 200 <= status < 300:
            return Answer(status, None)
        hint = ": redirects are not followed, set webhook_url to where it leads" if 300 <= status < 400 else ""
        return Answer(status, f"{self.receiver} answered {status}{hint}")

    def _open(self) -> Any:
        if self._client is None:
            self._client = self._library.AsyncClient(
                timeout=self.timeout_seconds,
                follow_redirects=False,
                # A connection each: messages are rare, and one that was kept may be dead by the next.
                limits=self._library.Limits(max_connections=4, max_keepalive_connections=0),
            )
        return self._client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
