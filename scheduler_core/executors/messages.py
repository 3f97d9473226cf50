"""What goes over the line between a leader and a process of its pool: JSON, one message a line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduler_core.domain.runs.run import Failure, RunStatus
from scheduler_core.domain.runs.ticket import Ticket, Told

MAX_MESSAGE_BYTES = 16 * 2**20
"""The names of all callbacks are the longest: room for some 100,000."""


def send(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    """Put a message on the line. Few and short: what the other end has not read yet waits in its buffer."""
    writer.write(json.dumps(message, default=str).encode() + b"\n")


def tell_ticket(ticket: Ticket) -> dict[str, Any]:
    return {"run_id": str(ticket.run_id), "attempt": ticket.attempt, "term": ticket.term}


def read_ticket(message: Mapping[str, Any]) -> Ticket:
    return Ticket(UUID(message["run_id"]), message["attempt"], message["term"])


def tell_told(ticket: Ticket, told: Told | None) -> dict[str, Any]:
    """What became of a ticket; of a failure its text without the traceback, which stands in Postgres."""
    if told is None:
        return {"run_id": str(ticket.run_id), "status": None}
    return {
        "run_id": str(ticket.run_id),
        "status": told.status.value,
        "next_attempt_at": told.next_attempt_at and told.next_attempt_at.isoformat(),
        "failure": told.failure and [told.failure.outcome, told.failure.error_type, told.failure.error_message],
    }


def read_told(message: Mapping[str, Any]) -> tuple[UUID, Told | None]:
    """The run that is spoken of, and what became of its ticket."""
    run_id = UUID(message["run_id"])
    if message["status"] is None:
        return run_id, None
    at, failure = message["next_attempt_at"], message["failure"]
    return run_id, Told(RunStatus(message["status"]), at and datetime.fromisoformat(at), failure and Failure(*failure))
