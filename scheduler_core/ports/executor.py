"""What executes attempts elsewhere, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.domain.runs.ticket import Ticket, Told


class Executor(Protocol):
    """Has attempts made elsewhere: in processes of this machine, on a cluster.

    A plug-in is a callable under the entry point group `scheduler_core.executors`, by the name that jobs give as
    `executor`; it is called with an `ExecutorContext` and returns such an object. Whatever it does with a ticket, a
    `Worker` at the other end takes the attempt in Postgres, makes it and records how it ended.
    """

    async def start(self) -> None:
        """Have workers ready; harmless if they are."""

    async def execute(self, ticket: Ticket) -> Told | None:
        """Deliver a ticket; returns what the worker told, None if it found nothing to take.

        Raises WorkerDiedError, ExecutorError. Cancelled: the worker goes on, and nobody waits for it.
        """

    async def stop(self) -> None:
        """Deliver nothing more. What workers have begun they end by themselves."""


@dataclass(frozen=True, slots=True)
class ExecutorContext:
    """What an executor is made from."""

    settings: Mapping[str, Any]
    """The settings of this replica, URLs included, as `load_settings` takes them: for workers that it starts itself."""
    instance_name: str
    abilities: Callable[[], Abilities]
    """What this replica can call, and so its workers may."""
    logger: LoggerLike
