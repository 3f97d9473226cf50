"""Logging of the processes that we start: text for a terminal, JSON for a collector.

A JSON line says which run it belongs to, whoever wrote it, and which term: the run's, else the one that this replica
leads in. Where the process traces, it names the span.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

from scheduler_core.engine.fire.log_context import run_fields
from scheduler_core.engine.scheduler import BaseScheduler

TEXT_FORMAT = "%(asctime)s %(levelname)-7s [%(process)d] %(message)s"


def configure_logging(log_format: str, level: str) -> None:
    """Send the log of everything in this process to standard error.

    Parameters: log_format, "text" or "json"; level, a stdlib level's name.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json() if log_format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("asyncio", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class ReplicaLogFilter(logging.Filter):
    """Has each line say which replica wrote it, and in which term it leads."""

    def __init__(self, scheduler: BaseScheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; always True."""
        record.instance_id = self._scheduler.instance.instance_id
        leadership = self._scheduler.leadership
        if leadership is not None and not hasattr(record, "term"):
            record.term = leadership.term
        return True


def name_replica(scheduler: BaseScheduler) -> None:
    """From now on every line says that it is this replica's."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(ReplicaLogFilter(scheduler))


def _json() -> logging.Formatter:
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Plain text: tracebacks with the values of variables in them would carry secrets.
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ExtraAdder(),
            _add_run,
            _add_span,
        ],
    )


def _add_run(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.update(run_fields())
    return event


def _add_span(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is not None and (span := trace.get_current_span().get_span_context()).is_valid:
        event.update(trace_id=f"{span.trace_id:032x}", span_id=f"{span.span_id:016x}")
    return event
