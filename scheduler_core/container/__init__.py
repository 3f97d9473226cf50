"""The one place where engine and storage meet: from settings to a scheduler that is ready to start.

`servers` are the connections, made when they are first asked for; `stores` what is stored, for reports and operators;
`container` a replica's life on top of both; `service_container` the one that this process uses by default.
Alembic is imported only where the schema is looked at: it is heavier than all the rest together.
"""

from __future__ import annotations

from scheduler_core.container.container import Container
from scheduler_core.container.service_container import ServiceContainer

__all__ = ["Container", "ServiceContainer"]
