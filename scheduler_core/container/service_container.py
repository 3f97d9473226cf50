"""The default container of this process: what `SchedulerService` and callbacks find without being given one."""

from __future__ import annotations

from scheduler_core.container.container import Container
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.operations.tables import TableScheduler
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Locks
from scheduler_core.ports.storage import Storage
from scheduler_core.settings import Settings


class ServiceContainer:
    """The default container of this process, made from its settings on first use."""

    _container: Container | None = None

    @classmethod
    def configure(
        cls,
        settings: Settings | None = None,
        *,
        lock_service: Locks | None = None,
        logger: LoggerLike | None = None,
    ) -> Container:
        """Make the default container anew. The former one must have been closed.

        Args:
            settings: None: read from the environment and `scheduler.toml`.
            lock_service: For jobs with `use_distributed_lock`. None: ours on the configured Redis.
            logger: Any object with a stdlib logger's methods. None: the logger `scheduler_core`.

        Returns:
            The container; nothing is connected yet.

        Raises:
            InvalidSettingsError: The settings are read here, and one is wrong.
        """
        cls._container = Container(settings, lock_service=lock_service, logger=logger)
        TableScheduler.connect(cls._container.get_tables, as_default=True)
        return cls._container

    @classmethod
    def get(cls) -> Container:
        """The default container; in a forked child another one with the settings of its parent's."""
        former = cls._container
        if former is None:
            return cls.configure()
        if former.is_inherited:
            former.leave_to_parent()
            return cls.configure(former.settings, logger=former._logger)
        return former

    @classmethod
    def get_lock_service(cls) -> Locks:
        """The lock service on the configured Redis."""
        return cls.get().get_lock_service()

    @classmethod
    def get_storage(cls) -> Storage:
        """Jobs and runs on the configured servers."""
        return cls.get().get_storage()

    @classmethod
    def get_scheduler(cls) -> BaseScheduler:
        """This process's scheduler."""
        return cls.get().get_scheduler()

    @classmethod
    async def close(cls) -> None:
        """Close what was made; the next call makes it anew."""
        container, cls._container = cls._container, None
        if container is not None:
            await container.close()
