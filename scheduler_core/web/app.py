"""The application: routes, errors, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from scheduler_core.container import Container
from scheduler_core.runtime.version import version
from scheduler_core.settings import Settings
from scheduler_core.web import api, openapi, pages, problem
from scheduler_core.web.access.authentication import AuthenticationMiddleware
from scheduler_core.web.access.limits import RequestLimits
from scheduler_core.web.health.metrics import router as health_router
from scheduler_core.web.security_headers import SecurityHeaders
from scheduler_core.web.slashes import EncodedSlashes
from scheduler_core.web.state import WebState

ROUTERS: tuple[APIRouter, ...] = (api.router, health_router, pages.router)
"""Everything that is served; each part brings one router."""


def create_app(container: Container | None = None, settings: Settings | None = None) -> FastAPI:
    """The API and the dashboard as an ASGI application, to be served as it is or mounted into another one.

    Parameters: container, whose servers it works on and whose owner closes it; settings, for a container of the
    application's own, which lives as long as the application's lifespan. Neither: the default container of this
    process, which `SchedulerService` and `scheduler_lifespan` use too.
    """
    state = WebState(container if container is not None or settings is None else Container(settings))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await state.simulator.close()
            if settings is not None and container is None:
                await state.container.close()

    app = FastAPI(
        title="scheduler-core",
        version=version(),
        summary="Jobs, runs, replicas and the log of a scheduler.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=lifespan,
    )
    app.state.scheduler = state
    problem.install(app, pages.problem_page)
    openapi.install(app)
    for router in ROUTERS:
        app.include_router(router)
    # The last one added stands first.
    app.add_middleware(AuthenticationMiddleware)
    app.add_middleware(EncodedSlashes)
    app.add_middleware(RequestLimits)
    app.add_middleware(SecurityHeaders)
    return app
