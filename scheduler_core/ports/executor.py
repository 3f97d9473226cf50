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
        """Have workers ready; harmless if they are.

        Raises:
            ExecutorError: They can't be had.
        """

    async def execute(self, ticket: Ticket) -> Told | None:
        """Deliver a ticket, and wait for what comes of it.

        Cancelled: the worker goes on, and nobody waits for it.

        Args:
            ticket: The attempt that a worker is to make.

        Returns:
            What the worker told; None if it found nothing to take.

        Raises:
            WorkerDiedError: The worker that had the ticket is dead.
            ExecutorError: The attempt can't be had made. It counts as failed, unless no worker had begun it.
        """

    async def stop(self) -> None:
        """Deliver nothing more. What workers have begun they end by themselves."""


@dataclass(frozen=True, slots=True)
class ExecutorContext:
    """What an executor is made from.

    Attributes:
        settings: The settings of this replica, URLs included, as `load_settings` takes them: for workers that it starts
            itself. Durations are seconds.
        instance_name: The replica's name, for people.
        abilities: Gives what this replica can call at that moment, and so its workers may.
        logger: Where the executor says what people should know.
    """

    settings: Mapping[str, Any]
    instance_name: str
    abilities: Callable[[], Abilities]
    logger: LoggerLike
