"""Spans of runs and attempts, as a collector receives them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from replicas import Replicas
from waiting import eventually, eventually_async

from scheduler_core import Container, RunContext, ScheduleJob
from scheduler_core.engine.fire import tracing
from scheduler_core.engine.fire.attempts import Attempts

Sql = psycopg.Connection[Any]


class Collector(ThreadingHTTPServer):
    """Receives OTLP over HTTP, and keeps every span with its resource's attributes."""

    def __init__(self) -> None:
        self.spans: list[tuple[dict[str, Any], Any]] = []
        collector = self

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    about = attributes(resource.resource)
                    collector.spans += [(about, span) for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Receive)


def attributes(holder: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in holder.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    serving = threading.Thread(target=made.serve_forever, daemon=True)
    serving.start()
    yield made
    made.shutdown()
    serving.join()
    made.server_close()


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(environment, "apps.talking", tmp_path)
    yield made
    made.stop()


def test_a_replica_sends_its_spans_to_the_collector(
    replicas: Replicas, sql: Sql, collector: Collector, tmp_path: Path
) -> None:
    process = replicas.start(
        SCHEDULER_TRACES="true",
        SCHEDULER_LOG_FORMAT="json",
        SCHEDULER_LEASE_TTL="1",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_address[1]}",
        OTEL_SERVICE_NAME="reports",
        OTEL_BSP_SCHEDULE_DELAY="200",
    )[0]
    replicas.wait_for(sql, 1)

    def named(name: str) -> list[Any]:
        return [span for _, span in collector.spans if span.name == name]

    eventually(lambda: named("run retried") and named("run in_thread") and named("run in_loop"), what="spans")
    process.terminate()
    assert process.wait(30) == 0
    assert {about["service.name"] for about, _ in collector.spans} == {"reports"}

    (run,) = named("run retried")
    assert attributes(run)["scheduler.outcome"] == "succeeded"
    assert run.parent_span_id == b""
    first, second = sorted(
        (span for span in named("attempt") if span.parent_span_id == run.span_id),
        key=lambda span: attributes(span)["scheduler.attempt"],
    )
    assert (attributes(first)["scheduler.outcome"], attributes(second)["scheduler.outcome"]) == ("failed", "succeeded")
    assert first.status.code == 2
    assert attributes(first.events[0])["exception.type"] == "ValueError"
    assert run.start_time_unix_nano <= first.start_time_unix_nano
    assert first.end_time_unix_nano <= second.start_time_unix_nano <= run.end_time_unix_nano
    row = sql.execute("SELECT run_id::text FROM scheduler.runs WHERE job_id = 'retried'").fetchone()
    assert row == (attributes(run)["scheduler.run_id"],)

    for job_id in ("in_loop", "in_thread"):
        run = named(f"run {job_id}")[0]
        (attempt,) = [span for span in named("attempt") if span.parent_span_id == run.span_id]
        (own,) = [span for span in named("say") if span.parent_span_id == attempt.span_id]
        assert own.trace_id == run.trace_id, "what the callback traces hangs below its attempt"
    logged = [json.loads(line) for line in (tmp_path / "replica-0.log").read_text().split("\n")[:-1]]
    traced = {(line["trace_id"], line["job_id"]) for line in logged if line["event"] == "from a thread"}
    assert (run.trace_id.hex(), "in_thread") in traced


def test_a_collector_that_is_gone_holds_nothing_up(replicas: Replicas, sql: Sql) -> None:
    process = replicas.start(
        SCHEDULER_TRACES="true",
        SCHEDULER_LEASE_TTL="1",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )[0]
    replicas.wait_for(sql, 1)

    def fired() -> bool:
        row = sql.execute("SELECT count(*) FROM scheduler.runs WHERE status = 'succeeded'").fetchone()
        return row is not None and row[0] >= 10

    eventually(fired, what="fires")
    process.terminate()
    assert process.wait(30) == 0


async def fail(ctx: RunContext) -> None:
    raise ValueError(str(ctx.attempt))


async def work() -> None: ...


async def test_a_run_is_the_root_of_its_trace_whatever_started_the_scheduler(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may start the scheduler inside a span of its own: its runs are not that span's children."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    monkeypatch.setattr(tracing, "find_tracer", lambda: tracer)
    with tracer.start_as_current_span("the service starts"):
        await container.start([ScheduleJob("j", "J", "once", None, fail, max_retries=0)])
    await eventually_async(lambda: any(span.name == "run j" for span in exporter.get_finished_spans()))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans["run j"].parent is None
    assert spans["attempt"].parent == spans["run j"].context
    assert spans["run j"].context.trace_id != spans["the service starts"].context.trace_id
    assert spans["run j"].status.description == "ValueError: 1"


async def test_without_a_tracer_nothing_is_traced_and_nothing_costs(container: Container) -> None:
    await container.start([ScheduleJob("j", "J", "once", None, work)])
    assert type(container.get_scheduler().running.attempts) is Attempts


@pytest.mark.parametrize(
    ("missing", "setting", "extra"),
    [("opentelemetry", {"traces": "true"}, "otel"), ("prometheus_client", {"metrics_port": "9"}, "web")],
)
def test_a_missing_extra_is_one_line(
    environment: dict[str, str], tmp_path: Path, missing: str, setting: dict[str, str], extra: str
) -> None:
    (tmp_path / missing).mkdir()
    (tmp_path / missing / "__init__.py").write_text(f'raise ImportError("No module named {missing!r}")\n')
    # Found first: the command starts in this folder, and in a process that has not imported it.
    done = subprocess.run(
        [sys.executable, "-m", "scheduler_core.cli", "run", "--app", "scheduler_core.cli.demo"],
        env=environment | {f"SCHEDULER_{name.upper()}": value for name, value in setting.items()},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert f"pip install 'scheduler-core[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
