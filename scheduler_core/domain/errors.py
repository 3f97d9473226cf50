"""The errors a user can meet. Each message says what happened and what to do next.

    SchedulerError
    ├── what was given is wrong (also a ValueError)
    │     InvalidJobError ─ InvalidScheduleError ─ UnknownZoneError, InvalidArgumentsError
    │     InvalidCalendarError · InvalidTokenError · InvalidSettingsError
    ├── NotFoundError (also a KeyError)
    │     JobNotFoundError · JobVersionNotFoundError · RunNotFoundError · CalendarNotFoundError · TokenNotFoundError
    ├── ConflictError: as things stand it can't be done
    │     JobConflictError · RunStateError · CalendarInUseError · TokenExistsError · ClockHoldNotFoundError
    ├── CallbackNotFoundError ─ CallbackNotAllowedError · UnreadableJobError
    ├── NotLeaderError · LockLostError · ExecutorError ─ WorkerDiedError
    ├── used wrongly (also a RuntimeError)
    │     NotInitializedError · AlreadyInitializedError · WrongLoopError
    └── servers
          ServerUnreachableError (also a ConnectionError) ─ RefusedForNowError
          SchemaError · UnstorableError · EmbeddedServerError

What the command line ends with for each, and which HTTP status the API answers, stands there: `cli.exit_codes`,
`web.problem`.
"""


class SchedulerError(Exception):
    """The root: everything this library raises on purpose is one of these."""


class InvalidJobError(SchedulerError, ValueError):
    """A job's definition can't be accepted. The message names the field, what is wrong and what would be right."""


class InvalidScheduleError(InvalidJobError):
    """A schedule's value can't be read, or can never fire."""


class InvalidArgumentsError(InvalidJobError):
    """A job's args or kwargs are none that its callback takes, or that can be stored."""


class UnknownZoneError(InvalidScheduleError):
    """There is no time zone of this name in the data of this process; another replica's may have it.

    `zone` is the name.
    """

    def __init__(self, message: str, zone: str) -> None:
        super().__init__(message)
        self.zone = zone


class NotFoundError(SchedulerError, KeyError):
    """What was asked for is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # a KeyError's would be the message in quotes


class ConflictError(SchedulerError):
    """As things stand it can't be done, and nothing was changed: look again, and decide again."""


class JobConflictError(ConflictError):
    """Another definition or operator got there first; nothing was changed. Read again and repeat."""


class JobNotFoundError(NotFoundError):
    """There is no job with this id."""


class JobVersionNotFoundError(NotFoundError):
    """The log has no such version of a job, or the job was removed with it."""


class RunNotFoundError(NotFoundError):
    """There is no run with this id."""


class RunStateError(ConflictError):
    """A run's state does not allow what was asked of it; nothing was changed."""


class CallbackNotFoundError(SchedulerError):
    """A callback's name can't be resolved in this process."""


class CallbackNotAllowedError(CallbackNotFoundError):
    """A callback's name is neither registered here nor under `allowed_callbacks`, so it is not imported."""


class UnreadableJobError(SchedulerError):
    """There is a job of this id, and its row can't be read in this process. `reason` is what its runs wait for."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidSettingsError(SchedulerError, ValueError):
    """A setting, or the relation between two settings, makes no sense."""


class NotInitializedError(SchedulerError, RuntimeError):
    """`SchedulerService.init()` has not been called yet, or `shutdown()` was."""


class AlreadyInitializedError(SchedulerError, RuntimeError):
    """`SchedulerService.init()` was called twice with different arguments."""


class WrongLoopError(SchedulerError, RuntimeError):
    """Asked for in another event loop than the one that it lives in, or in a forked child; nothing was done.

    The message says where it lives, and what to do here.
    """


class ExecutorError(SchedulerError):
    """An executor can't have an attempt made. The attempt counts as failed, unless no worker had begun it."""


class WorkerDiedError(ExecutorError):
    """The worker that had a ticket is dead.

    Args:
        message: How it died.
        instance_id: By which it may have taken the attempt. None: it did not come to have one.
    """

    def __init__(self, message: str, instance_id: str | None = None) -> None:
        super().__init__(message)
        self.instance_id = instance_id


class NotLeaderError(SchedulerError):
    """This replica does not lead, or no longer does: the write was refused and nothing was changed."""


class LockLostError(SchedulerError):
    """A distributed lock expired or was taken while it was held."""


class ServerUnreachableError(SchedulerError, ConnectionError):
    """Postgres or Redis can't be reached or refuses us. The message names the server, never the password."""


class RefusedForNowError(ServerUnreachableError):
    """A server answered that it can't do it now. Nothing was written: the same may be done a moment later."""


class UnstorableError(SchedulerError):
    """Postgres can't store this data; it will say so each time. Nothing was written."""


class SchemaError(SchedulerError):
    """The database's schema is older or newer than this code, or may not be changed."""


class EmbeddedServerError(SchedulerError):
    """An embedded server can't be started, or its data folder is held by somebody else."""


class InvalidCalendarError(SchedulerError, ValueError):
    """A calendar can't be accepted. The message names the field, what is wrong and what would be right."""


class CalendarNotFoundError(NotFoundError):
    """There is no calendar with this name."""


class ClockHoldNotFoundError(ConflictError):
    """What an operator saw does not stop planning any more: it is over, or the clock has jumped anew."""


class CalendarInUseError(ConflictError):
    """A calendar that jobs name can't be removed: they would not know when to fire."""


class InvalidTokenError(SchedulerError, ValueError):
    """A token can't be made as asked: its name, its scope or its time."""


class TokenExistsError(ConflictError):
    """A token of this name stands already."""


class TokenNotFoundError(NotFoundError):
    """There is no token of this name, or none that stands."""
