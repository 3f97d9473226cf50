"""A span per run and one per attempt, for processes that have set up OpenTelemetry before the scheduler starts.

Without a tracer the attempts are made as ever, and nothing here is called: what is chosen is chosen once, at the start.
The callback runs inside its attempt's span, so that what it traces itself hangs below it, in threads too. A run that
goes on elsewhere has a span in each replica; `scheduler.run_id` is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scheduler_core.domain.runs.ending import Ending, How
from scheduler_core.engine.callbacks.registry import Callback
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.fire.attempts import Attempts
from scheduler_core.engine.fire.run_lock import RunLock

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

OUTCOME = "scheduler.outcome"

WORDS = {
    How.RETURNED: "succeeded",
    How.CANCELLED: "cancelled",
    How.CUT_OFF: "cut off",
    How.NOT_BEGUN: "returned",
    How.LOCKED: "skipped",
    How.TOO_LATE: "missed",
}
"""What a span says of an ending that is no failure; a failure says it itself."""


def find_tracer() -> Tracer | None:
    """The tracer of whatever provider this process has set up; None without one. Imports nothing."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    tracer: Tracer = provider.get_tracer("scheduler_core")
    return tracer


def traced(attempts: Attempts, instance_id: str) -> Attempts:
    """The same attempts, with spans where this process traces."""
    tracer = find_tracer()
    if tracer is None:
        return attempts
    parts = {part.name: getattr(attempts, part.name) for part in fields(attempts)}
    return TracedAttempts(tracer, instance_id, **parts)


class TracedAttempts(Attempts):
    """Makes attempts inside spans."""

    def __init__(self, tracer: Tracer, instance_id: str, **parts: Any) -> None:
        super().__init__(**parts)
        self._tracer = tracer
        self._instance_id = instance_id

    async def until_settled(self, active: ActiveRun, callback: Callback, lock: RunLock | None) -> Ending:
        """See Attempts; inside the run's span, which is the root of its trace whatever started the scheduler."""
        run = active.run
        about = {
            "scheduler.job_id": run.job_id,
            "scheduler.run_id": str(run.run_id),
            "scheduler.scheduled_for": run.scheduled_for.isoformat(),
            "scheduler.origin": run.origin.value,
            "scheduler.term": run.term,
            "scheduler.instance_id": self._instance_id,
            "scheduler.lateness_seconds": (active.started_at - run.scheduled_for).total_seconds(),
        }
        with self._span(f"run {run.job_id}", about, is_root=True) as span:
            ending = await super().until_settled(active, callback, lock)
            _describe_ending(span, ending)
        return ending

    async def once(self, active: ActiveRun, callback: Callback, lock: RunLock | None) -> Ending:
        """See Attempts; inside a span of its own."""
        with self._span("attempt", {"scheduler.attempt": active.number}) as span:
            ending = await super().once(active, callback, lock)
            _describe_ending(span, ending)
            if (failure := ending.failure) is not None:
                span.add_event(
                    "exception",
                    {
                        "exception.type": failure.error_type,
                        "exception.message": failure.error_message,
                        "exception.stacktrace": failure.traceback,
                    },
                )
        return ending

    @contextmanager
    def _span(self, name: str, about: dict[str, Any], *, is_root: bool = False) -> Iterator[Span]:
        from opentelemetry import trace
        from opentelemetry.context import Context

        span = self._tracer.start_span(name, Context() if is_root else None, attributes=about)
        # Before anything is known: where no ending comes, the run was cut off between two calls.
        span.set_attribute(OUTCOME, WORDS[How.CUT_OFF])
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield span


def _describe_ending(span: Span, ending: Ending) -> None:
    if ending.failure is None:
        span.set_attribute(OUTCOME, WORDS[ending.how])
        return
    from opentelemetry.trace import StatusCode

    span.set_attribute(OUTCOME, ending.failure.outcome)
    span.set_status(StatusCode.ERROR, ending.failure.summary)
