"""/metrics, in the formats that Prometheus asks for."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from scheduler_core.container import Container
from scheduler_core.domain.access.access import Scope
from scheduler_core.web import problem
from scheduler_core.web.access import require
from scheduler_core.web.access.limits import RequestLimits
from scheduler_core.web.health import probes
from scheduler_core.web.health.database_families import DatabaseCollector
from scheduler_core.web.health.replica_families import ReplicaCollector
from scheduler_core.web.security_headers import SecurityHeaders
from scheduler_core.web.state import WebState, state_of

_TEXT = {"schema": {"type": "string"}, "example": "scheduler_leading 1.0\n"}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}, "description": "The metrics."},
}


async def metrics(request: Request) -> Response:
    """What this process counts, and what Postgres says of the whole scheduler."""
    state = state_of(request)
    # A scrape never fails for Postgres' sake: what this process counts is told all the same.
    await state.observer.look()
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry_of(state)), headers={"content-type": content_type})


def registry_of(state: WebState) -> CollectorRegistry:
    """Everything that one scrape shows."""
    registry = CollectorRegistry()
    registry.register(ReplicaCollector(lambda: state.container.replica))
    registry.register(DatabaseCollector(state.observer))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


router = APIRouter()
router.include_router(probes.router)
router.add_api_route(
    "/metrics",
    metrics,
    tags=["health"],
    response_class=Response,
    responses=_RESPONSES,
    dependencies=[Depends(require(Scope.VIEWER))],
    summary="Metrics for Prometheus",
)


def metrics_app(container: Container) -> FastAPI:
    """/metrics and the probes alone, without a token: for a port that only those who scrape can reach."""
    app = FastAPI(title="scheduler-core metrics", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.scheduler = WebState(container)
    problem.install(app)
    app.include_router(probes.router)
    app.add_api_route("/metrics", metrics, response_class=Response)
    app.add_middleware(RequestLimits)
    app.add_middleware(SecurityHeaders)
    return app
