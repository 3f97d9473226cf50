"""The job scheduler whose failover can be proven.

`SchedulerService` is the facade that a service uses; `ScheduleJob` and `@job` say what is to run. Names resolve
on first use, so that importing this package stays light.

The packages, imports only going down: `cli`, `web`, `drill`, `benchmark`, `testing`, `simulation` → `service` →
`admin` → `container` → `engine` | `storage` → `ports` → `settings` → `runtime` → `domain` → `support`. `storage` is
the only one that knows Postgres and Redis; engine and storage never see each other, and meet in `container`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "AlreadyInitializedError": "domain.errors",
    "BaseScheduler": "engine.scheduler",
    "Calendar": "domain.calendars.calendars",
    "CalendarInUseError": "domain.errors",
    "CalendarNotFoundError": "domain.errors",
    "CallbackNotAllowedError": "domain.errors",
    "CallbackNotFoundError": "domain.errors",
    "ConflictError": "domain.errors",
    "Container": "container",
    "Delivery": "domain.jobs.job",
    "Dst": "domain.schedule",
    "EmbeddedServerError": "domain.errors",
    "InvalidArgumentsError": "domain.errors",
    "InvalidCalendarError": "domain.errors",
    "InvalidJobError": "domain.errors",
    "InvalidScheduleError": "domain.errors",
    "InvalidSettingsError": "domain.errors",
    "JobConflictError": "domain.errors",
    "JobNotFoundError": "domain.errors",
    "JobStatus": "domain.jobs.status",
    "JobVersionNotFoundError": "domain.errors",
    "LockLostError": "domain.errors",
    "LockService": "storage.redis.locks",
    "Misfire": "domain.jobs.job",
    "NotFoundError": "domain.errors",
    "NotInitializedError": "domain.errors",
    "NotLeaderError": "domain.errors",
    "Origin": "domain.runs.run",
    "Overlap": "domain.jobs.job",
    "Run": "domain.runs.run",
    "RunContext": "domain.runs.run",
    "RunLogFilter": "engine.fire.log_context",
    "RunNotFoundError": "domain.errors",
    "RunStateError": "domain.errors",
    "RunStatus": "domain.runs.run",
    "ScheduleJob": "domain.jobs.job",
    "ScheduleType": "domain.schedule",
    "SchedulerError": "domain.errors",
    "SchedulerService": "service",
    "SchemaError": "domain.errors",
    "ServerUnreachableError": "domain.errors",
    "ServiceContainer": "container",
    "Settings": "settings",
    "Summary": "domain.tables.family",
    "TableFamily": "domain.tables.family",
    "TableScheduler": "engine.operations.tables",
    "WrongLoopError": "domain.errors",
    "callback": "service",
    "country_calendar": "domain.calendars.countries",
    "declared_jobs": "service",
    "job": "service",
    "load_jobs": "jobs_file.reading",
    "load_settings": "settings",
    "next_fires": "service",
    "register_callbacks": "service",
}

# Written out: a type checker reads it, and computes nothing.
__all__ = [
    "AlreadyInitializedError",
    "BaseScheduler",
    "Calendar",
    "CalendarInUseError",
    "CalendarNotFoundError",
    "CallbackNotAllowedError",
    "CallbackNotFoundError",
    "ConflictError",
    "Container",
    "Delivery",
    "Dst",
    "EmbeddedServerError",
    "InvalidArgumentsError",
    "InvalidCalendarError",
    "InvalidJobError",
    "InvalidScheduleError",
    "InvalidSettingsError",
    "JobConflictError",
    "JobNotFoundError",
    "JobStatus",
    "JobVersionNotFoundError",
    "LockLostError",
    "LockService",
    "Misfire",
    "NotFoundError",
    "NotInitializedError",
    "NotLeaderError",
    "Origin",
    "Overlap",
    "Run",
    "RunContext",
    "RunLogFilter",
    "RunNotFoundError",
    "RunStateError",
    "RunStatus",
    "ScheduleJob",
    "ScheduleType",
    "SchedulerError",
    "SchedulerService",
    "SchemaError",
    "ServerUnreachableError",
    "ServiceContainer",
    "Settings",
    "Summary",
    "TableFamily",
    "TableScheduler",
    "WrongLoopError",
    "callback",
    "country_calendar",
    "declared_jobs",
    "job",
    "load_jobs",
    "load_settings",
    "next_fires",
    "register_callbacks",
]


if not TYPE_CHECKING:  # else a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        module = _PUBLIC.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, *globals()]


if TYPE_CHECKING:
    from scheduler_core.container import Container, ServiceContainer
    from scheduler_core.domain.calendars.calendars import Calendar
    from scheduler_core.domain.calendars.countries import country_calendar
    from scheduler_core.domain.errors import (
        AlreadyInitializedError,
        CalendarInUseError,
        CalendarNotFoundError,
        CallbackNotAllowedError,
        CallbackNotFoundError,
        ConflictError,
        EmbeddedServerError,
        InvalidArgumentsError,
        InvalidCalendarError,
        InvalidJobError,
        InvalidScheduleError,
        InvalidSettingsError,
        JobConflictError,
        JobNotFoundError,
        JobVersionNotFoundError,
        LockLostError,
        NotFoundError,
        NotInitializedError,
        NotLeaderError,
        RunNotFoundError,
        RunStateError,
        SchedulerError,
        SchemaError,
        ServerUnreachableError,
        WrongLoopError,
    )
    from scheduler_core.domain.jobs.job import Delivery, Misfire, Overlap, ScheduleJob
    from scheduler_core.domain.jobs.status import JobStatus
    from scheduler_core.domain.runs.run import Origin, Run, RunContext, RunStatus
    from scheduler_core.domain.schedule import Dst, ScheduleType
    from scheduler_core.domain.tables.family import Summary, TableFamily
    from scheduler_core.engine.fire.log_context import RunLogFilter
    from scheduler_core.engine.operations.tables import TableScheduler
    from scheduler_core.engine.scheduler import BaseScheduler
    from scheduler_core.jobs_file.reading import load_jobs
    from scheduler_core.service import SchedulerService, callback, declared_jobs, job, next_fires, register_callbacks
    from scheduler_core.settings import Settings, load_settings
    from scheduler_core.storage.redis.locks import LockService
