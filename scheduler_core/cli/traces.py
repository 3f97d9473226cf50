"""Traces of the processes that we start (extra `otel`): to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.runtime.version import version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LAST_WORDS_SECONDS = 3.0
"""How long the last spans may take on their way out: a collector that is gone must not hold up a stop."""


def configure_traces() -> TracerProvider | None:
    """Have this process trace, unless it does already (`opentelemetry-instrument`, or the app itself).

    OpenTelemetry's own variables say where to, how many and under which name: OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME. Returns the provider, to be closed by `close_traces`; None if there was one.
    Raises InvalidSettingsError where the extra is missing.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InvalidSettingsError(
            f"traces = true needs the extra 'otel' ({error}): pip install 'scheduler-core[otel]'"
        ) from None
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    ours = Resource.create({"service.name": "scheduler", "service.version": version()})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    # In a thread of its own, with a queue that is bounded: a collector that is slow loses spans, and delays no fire.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def close_traces(provider: TracerProvider | None) -> None:
    """Send what is left, for a bounded time."""
    if provider is not None:
        last_words = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        last_words.start()
        last_words.join(LAST_WORDS_SECONDS)
