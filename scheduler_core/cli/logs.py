"""Logging of the processes that we start: text for a terminal, JSON for a collector."""

from __future__ import annotations

import logging
import sys


def configure_logging(log_format: str, level: str) -> None:
    """Send the library's log to standard error.

    Parameters: log_format, "text" or "json"; level, a stdlib level's name.
    """
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        import structlog

        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(),
                ],
                foreign_pre_chain=[
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                ],
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s [%(process)d] %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("asyncio", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
