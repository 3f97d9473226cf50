"""One job that does nothing, hourly."""

from scheduler_core import job


@job("idle", every=3600)
def work() -> None:
    """Does nothing."""
