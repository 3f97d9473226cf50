"""One job on every whole second, so that a test can strike exactly then."""

from replicas import witness

from scheduler_core import RunContext, job


@job("second", cron="* * * * * *")
async def second(ctx: RunContext) -> None:
    """Writes down the second it was called for."""
    witness(f"second {int(ctx.scheduled_for.timestamp())}")
