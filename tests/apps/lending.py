"""What a service's module holds: functions of its own, and much that it only borrows."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
from collections.abc import Callable
from os import system
from subprocess import Popen
from typing import Any


def work() -> None: ...


async def work_async() -> None: ...


def kept_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as most are."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@kept_name
def decorated() -> None: ...


class Report:
    def send(self) -> None: ...

    @staticmethod
    def render() -> None: ...

    @classmethod
    def build(cls) -> type[Report]:
        return cls

    class Section:
        @staticmethod
        def write() -> None: ...

    run = staticmethod(system)
    shell = os.system
    library = subprocess


class Child(Report, Popen):  # type: ignore[type-arg]
    """Inherits what is its own and what is not."""


class Calls:
    def __call__(self) -> None: ...


instance = Calls()
partial = functools.partial(os.system, "true")
renamed = work
borrowed = logging.getLogger("x").info
loop_maker = asyncio.new_event_loop
anonymous = lambda: None  # noqa: E731


def disguised() -> None: ...


# Says that it is of this module, and is not: by what it wraps, and by what it was told to say.
disguised.__wrapped__ = os.system  # type: ignore[attr-defined]
posing = type(work)(subprocess.check_call.__code__, vars(subprocess), "posing")
posing.__module__, posing.__qualname__ = __name__, "posing"


def __getattr__(name: str) -> Any:
    if name == "made_up":
        return os.system
    raise AttributeError(name)
