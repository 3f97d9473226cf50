"""What goes wrong only in tests."""

from __future__ import annotations

from scheduler_core.domain.errors import SchedulerError


class VirtualTimeError(SchedulerError):
    """A test asks for more than virtual time can do; the message says what to write instead."""
