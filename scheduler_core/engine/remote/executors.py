"""The executors that this process can use, each made and started when a job first names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import metadata

from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.abilities import is_bound_to_program
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.domain.runs.ticket import LOCAL, REPLICAS
from scheduler_core.ports.executor import Executor

ENTRY_POINTS = "scheduler_core.executors"
"""The entry point group of executors."""

STOP_TIMEOUT_SECONDS = 20.0
"""How long an executor may take to stop beyond `drain_timeout`."""

Factories = Mapping[str, Callable[[], Executor]]


@lru_cache(maxsize=1)
def installed() -> tuple[str, ...]:
    """The executors that a job may name."""
    return (LOCAL, REPLICAS, *sorted(metadata.entry_points(group=ENTRY_POINTS).names))


def check_executor(definition: JobDefinition) -> None:
    """Refuse a job that names an executor that is not installed, or a callback that no other process finds.

    Raises InvalidJobError.
    """
    if definition.executor in {LOCAL, REPLICAS}:
        # A replica that takes it has declared the very same.
        return
    if definition.executor not in installed():
        raise InvalidJobError(
            f"job {definition.job_id!r}: there is no executor {definition.executor!r}: choose one of "
            f"{', '.join(installed())}, or install the package that brings it"
        )
    if is_bound_to_program(definition.callback):
        raise InvalidJobError(
            f"job {definition.job_id!r}: the executor {definition.executor!r} calls {definition.callback} in another "
            "process, which can't find it there: move the callback to the top level of a module"
        )


class Executors:
    """The executors of this process, each made when a job first names it.

    Parameters: find, returns what makes each executor, by name; asked once, and only if need be.
    """

    def __init__(self, find: Callable[[], Factories]) -> None:
        self._find = find
        self._factories: Factories | None = None
        self._made: dict[str, Executor] = {}

    def get(self, name: str) -> Executor | None:
        """The executor of this name; None if there is none. Raises ExecutorError if it can't be made."""
        if self._factories is None:
            self._factories = self._find()
        if name not in self._made and name in self._factories:
            self._made[name] = self._factories[name]()
        return self._made.get(name)

    def forget(self) -> None:
        """Those that were made went with their event loop."""
        self._made = {}

    async def stop(self, drain_timeout_seconds: float, logger: LoggerLike) -> None:
        """Stop those that were made; they may be made again. One that does not stop in time is left to itself."""
        made, self._made = self._made, {}
        limit_seconds = drain_timeout_seconds + STOP_TIMEOUT_SECONDS

        async def stop(name: str, executor: Executor) -> None:
            try:
                async with asyncio.timeout(limit_seconds):
                    await executor.stop()
            except Exception as error:  # noqa: BLE001 - whatever a plug-in raises, the others are stopped
                problem = "did not stop in time" if isinstance(error, TimeoutError) else f"did not stop: {error!r}"
                logger.warning("the executor %r %s", name, problem)

        await asyncio.gather(*(stop(name, executor) for name, executor in made.items()))
