"""What a command ends with when an error reaches it."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler_core.domain import errors

BAD_NEWS = 1
WRONG_USAGE = 2
UNREACHABLE = 3

# The first of these that an error is an instance of decides.
EXIT_CODE_OF: Sequence[tuple[type[errors.SchedulerError], int]] = (
    (errors.ServerUnreachableError, UNREACHABLE),
    (errors.EmbeddedServerError, UNREACHABLE),
    (errors.InvalidJobError, WRONG_USAGE),
    (errors.InvalidCalendarError, WRONG_USAGE),
    (errors.InvalidTokenError, WRONG_USAGE),
    (errors.InvalidSettingsError, WRONG_USAGE),
    (errors.NotInitializedError, WRONG_USAGE),
    (errors.AlreadyInitializedError, WRONG_USAGE),
    (errors.WrongLoopError, WRONG_USAGE),
)


def exit_code_of(error: errors.SchedulerError) -> int:
    """1: the answer is bad news; 2: wrong usage; 3: a server is out of reach."""
    return next((code for kind, code in EXIT_CODE_OF if isinstance(error, kind)), BAD_NEWS)
