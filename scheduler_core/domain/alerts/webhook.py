"""Webhooks: how a message is signed, and what follows from what its receiver answered. Pure.

The signature is that of Standard Webhooks, so that receivers verify it with a library that exists: HMAC-SHA256 over
`id.timestamp.body`, sent beside both, so that neither a replay nor another body passes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from scheduler_core.domain.errors import InvalidSettingsError

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)
"""What the standard allows a key to be long."""

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
GIVE_UP_AFTER = timedelta(hours=24)
"""A message that nobody took by then is news no more."""

_WAITS = frozenset({408, 409, 425, 429})
"""Client errors by which a receiver says "not now", not "not this"."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message after an attempt to deliver it."""

    delivered: bool = False
    given_up: bool = False
    retry_seconds: float = 0.0
    refused: bool = False
    """The receiver will not have this message; those behind it need not wait for it."""


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """The keys that messages are signed with: one, or several separated by spaces while a key is being replaced.

    Raises InvalidSettingsError, which shows nothing of a secret.
    """
    keys = []
    for part in text.split():
        try:
            key = base64.b64decode(part.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) not in KEY_BYTES:
            raise InvalidSettingsError(
                f"webhook_secret must be {KEY_BYTES[0]} to {KEY_BYTES[-1]} random bytes in base64 behind {PREFIX!r}: "
                f"write {PREFIX}$(openssl rand -base64 32); several are separated by a space"
            )
        keys.append(key)
    if not keys:
        raise InvalidSettingsError("webhook_secret is empty: write whsec_$(openssl rand -base64 32)")
    return tuple(keys)


def encode_body(body: Mapping[str, Any]) -> bytes:
    """The bytes that are signed and sent: the same for every attempt."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8", "replace")


def signed_headers(message_id: str, sent_at_seconds: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers that prove where a message comes from.

    Parameters: sent_at_seconds, when this attempt is made, since 1970; keys, one signature is made with each.
    """
    content = f"{message_id}.{sent_at_seconds}.".encode() + body
    signatures = (base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at_seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def judge(status: int | None, attempts: int, age: timedelta) -> Verdict:
    """What follows from an attempt.

    Parameters: status, of the answer, None without one; attempts, so far, with this one; age, of the message.
    Every 2xx is a delivery. A redirect is none: what is signed goes only where the settings say.
    """
    if status is not None and 200 <= status < 300:
        return Verdict(delivered=True)
    if age >= GIVE_UP_AFTER:
        return Verdict(given_up=True)
    wait = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(attempts - 1, 16))
    refused = status is not None and 400 <= status < 500 and status not in _WAITS
    return Verdict(retry_seconds=wait, refused=refused)
