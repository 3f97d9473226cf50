"""The errors a user can meet. Each message says what happened and what to do next."""


class SchedulerError(Exception):
    """The root: everything this library raises on purpose is one of these.

    `exit_code` is what the command line ends with when the error reaches it (1 the answer is bad news,
    2 wrong usage, 3 a server is out of reach).
    """

    exit_code = 1


class InvalidJobError(SchedulerError, ValueError):
    """A job's definition can't be accepted. The message names the field, what is wrong and what would be right."""

    exit_code = 2


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


class JobConflictError(SchedulerError):
    """Another definition or operator got there first; nothing was changed. Read again and repeat."""


class JobNotFoundError(SchedulerError, KeyError):
    """There is no job with this id."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class JobVersionNotFoundError(JobNotFoundError):
    """The log has no such version of a job, or the job was removed with it."""


class RunNotFoundError(JobNotFoundError):
    """There is no run with this id."""


class RunStateError(SchedulerError):
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

    exit_code = 2


class NotInitializedError(SchedulerError, RuntimeError):
    """`SchedulerService.init()` has not been called yet, or `shutdown()` was."""

    exit_code = 2


class AlreadyInitializedError(SchedulerError, RuntimeError):
    """`SchedulerService.init()` was called twice with different arguments."""

    exit_code = 2


class WrongLoopError(SchedulerError, RuntimeError):
    """Asked for in another event loop than the one that it lives in, or in a forked child; nothing was done.

    The message says where it lives, and what to do here.
    """

    exit_code = 2


class ExecutorError(SchedulerError):
    """An executor can't have an attempt made. The attempt counts as failed, unless no worker had begun it."""


class WorkerDiedError(ExecutorError):
    """The worker that had a ticket is dead.

    Parameters: instance_id, by which it may have taken the attempt; None where it did not come to have one.
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

    exit_code = 3


class ServerRefusesError(ServerUnreachableError):
    """The server is there, and answers that it does not do what it was asked for. For the caller an outage."""


class SchemaError(SchedulerError):
    """The database's schema is older or newer than this code, or may not be changed."""


class EmbeddedServerError(SchedulerError):
    """An embedded server can't be started, or its data folder is held by somebody else."""

    exit_code = 3


class InvalidCalendarError(SchedulerError, ValueError):
    """A calendar can't be accepted. The message names the field, what is wrong and what would be right."""

    exit_code = 2


class CalendarNotFoundError(SchedulerError, KeyError):
    """There is no calendar with this name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ClockHoldNotFoundError(SchedulerError, KeyError):
    """What an operator saw does not stop planning any more: it is over, or the clock has jumped anew."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class CalendarInUseError(SchedulerError):
    """A calendar that jobs name can't be removed: they would not know when to fire."""


class InvalidTokenError(SchedulerError, ValueError):
    """A token can't be made as asked: its name, its scope or its time."""

    exit_code = 2


class TokenExistsError(SchedulerError):
    """A token of this name stands already."""


class TokenNotFoundError(SchedulerError, KeyError):
    """There is no token of this name, or none that stands."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
