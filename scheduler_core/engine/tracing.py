"""A span per run and one per attempt, for processes that have set up OpenTelemetry before the scheduler starts.

Without a tracer the attempts are made as ever, and nothing here is called: what is chosen is chosen once, at the start.
The callback runs inside its attempt's span, so that what it traces itself hangs below it, in threads too. A run that
goes on elsewhere has a span in each replica; `scheduler.run_id` is the same.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scheduler_core.domain.errors import NotLeaderError
from scheduler_core.domain.run import Failure
from scheduler_core.engine.attempts import Attempts
from scheduler_core.engine.begun import Begun
from scheduler_core.engine.cancellation import CancelRequestedError
from scheduler_core.engine.locks import LockedElsewhereError, RunLock
from scheduler_core.engine.registry import Callback

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

OUTCOME = "scheduler.outcome"

# How a run may leave without an answer of its callback. The first that fits decides.
LEAVING: tuple[tuple[type[BaseException], str], ...] = (
    (CancelRequestedError, "cancelled"),
    (LockedElsewhereError, "skipped"),
    (NotLeaderError, "returned"),
    (asyncio.CancelledError, "cut off"),
)


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


def traced(attempts: Attempts) -> Attempts:
    """The same attempts, with spans where this process traces."""
    tracer = find_tracer()
    if tracer is None:
        return attempts
    return TracedAttempts(tracer, **{part.name: getattr(attempts, part.name) for part in fields(attempts)})


class TracedAttempts(Attempts):
    """Makes attempts inside spans."""

    def __init__(self, tracer: Tracer, **parts: Any) -> None:
        super().__init__(**parts)
        self._tracer = tracer

    async def until_settled(self, begun: Begun, callback: Callback, lock: RunLock | None) -> Failure | None:
        """See Attempts; inside the run's span, which is the root of its trace whatever started the scheduler."""
        run = begun.run
        about = {
            "scheduler.job_id": run.job_id,
            "scheduler.run_id": str(run.run_id),
            "scheduler.scheduled_for": run.scheduled_for.isoformat(),
            "scheduler.origin": run.origin.value,
            "scheduler.term": run.term,
            "scheduler.instance_id": self.instance_id,
            "scheduler.lateness_seconds": (begun.started_at - run.scheduled_for).total_seconds(),
        }
        with self._span(f"run {run.job_id}", about, is_root=True) as span:
            failure = await super().until_settled(begun, callback, lock)
            _say_how_it_ended(span, failure)
        return failure

    async def once(self, begun: Begun, callback: Callback, lock: RunLock | None) -> Failure | None:
        with self._span("attempt", {"scheduler.attempt": begun.number}) as span:
            failure = await super().once(begun, callback, lock)
            _say_how_it_ended(span, failure)
            if failure is not None:
                span.add_event(
                    "exception",
                    {
                        "exception.type": failure.error_type,
                        "exception.message": failure.error_message,
                        "exception.stacktrace": failure.traceback,
                    },
                )
        return failure

    @contextmanager
    def _span(self, name: str, about: dict[str, Any], *, is_root: bool = False) -> Iterator[Span]:
        from opentelemetry import trace
        from opentelemetry.context import Context

        span = self._tracer.start_span(name, Context() if is_root else None, attributes=about)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                ending = next(
                    (word for kind, word in LEAVING if isinstance(error, kind)), "failed inside the scheduler"
                )
                span.set_attribute(OUTCOME, ending)
                raise


def _say_how_it_ended(span: Span, failure: Failure | None) -> None:
    if failure is None:
        span.set_attribute(OUTCOME, "succeeded")
        return
    from opentelemetry.trace import StatusCode

    span.set_attribute(OUTCOME, failure.outcome)
    span.set_status(StatusCode.ERROR, failure.summary)
