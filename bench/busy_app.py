"""Fifty jobs that fire ten times a second, each at a phase of its own."""

from datetime import UTC, datetime, timedelta

from scheduler_core import job

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


async def work() -> None:
    """Does nothing."""


for number in range(50):
    job(f"busy-{number}", every=0.1, start_at=EPOCH + timedelta(milliseconds=2 * number), misfire="skip")(work)
