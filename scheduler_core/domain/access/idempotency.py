"""What stands under a request's Idempotency-Key: the right to do the work, or what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """The right to do the work of a key: under which id, and whether somebody may have done it before."""

    token_id: UUID
    key: str
    run_id: UUID
    is_taken_over: bool
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What stands under a key already: whether it is of the same request, and its answer, None as long as it is
    being worked out.
    """

    is_same_request: bool
    status: int | None
    answer: Any
    ask_again_seconds: float
    """After which the work is anybody's again, if no answer comes."""
