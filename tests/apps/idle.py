"""One job that does nothing, hourly."""

from scheduler_core import job


@job("idle", every=3600)
def work(*_args: object, **_options: object) -> None:
    """Does nothing, whatever it is given."""
