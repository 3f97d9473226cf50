"""What the application's requests share: the container, who failed to get in, and the last look at the whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request

from scheduler_core.container import Container, ServiceContainer
from scheduler_core.web.login_throttle import LoginThrottle
from scheduler_core.web.observer import Observer
from scheduler_core.web.simulator import Simulator


@dataclass(slots=True)
class WebState:
    """One per application."""

    given: Container | None = None
    login_throttle: LoginThrottle = field(default_factory=LoginThrottle)
    simulator: Simulator = field(default_factory=Simulator)
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self.observer = Observer(lambda: self.container)

    @property
    def container(self) -> Container:
        """The container given to `create_app`, else this process's default one, as `SchedulerService` uses it."""
        return self.given or ServiceContainer.get()


def state_of(request: Request) -> WebState:
    """What this request's application shares."""
    state: WebState = request.app.state.scheduler
    return state


def get_container(request: Request) -> Container:
    """A dependency: the container that serves this request."""
    return state_of(request).container
