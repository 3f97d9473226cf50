"""One job that is far away."""

from scheduler_core import job


@job("idle", every=86_400)
def work() -> None:
    """Does nothing."""
