"""The public surface of `scheduler_core` as text: each name, and what may be called how.

    python -m tests.surface > tests/architecture/surface.txt

after a change that is meant; the change of that file is then what a version's number has to answer for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import scheduler_core

ADDRESS = re.compile(r" at 0x[0-9a-f]+")

MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
"""Where a class comes from: versions of Python differ in it. 3.13 says `pathlib._local.Path` and `Annotated` where 3.11
says `pathlib.Path` and `typing.Annotated`."""


def lines() -> Iterator[str]:
    """A line for each public name, and for each public method or property below it."""
    for name in scheduler_core.__all__:
        value = getattr(scheduler_core, name)
        if not inspect.isclass(value):
            yield f"{name}{_signature(value)}"
        elif issubclass(value, BaseException):
            yield f"{name} is " + ", ".join(parent.__name__ for parent in value.__bases__)
        elif issubclass(value, Enum):
            yield f"{name} " + " ".join(f"{member.name}={member.value}" for member in value)
        else:
            yield f"{name}{_signature(value)}"
            yield from _methods(name, value)


def _methods(owner: str, kind: type) -> Iterator[str]:
    # A class of ours shows what it has from others of ours; the nearest that defines a name counts.
    ours = [one for one in reversed(kind.__mro__) if one.__module__.startswith("scheduler_core")]
    members = {name: value for one in ours for name, value in vars(one).items()}
    for name, value in sorted(members.items()):
        if name.startswith(("_", "model_")):
            continue
        plain = getattr(value, "__func__", value)
        if inspect.isfunction(plain):
            word = "async " if inspect.iscoroutinefunction(plain) else ""
            yield f"  {word}{owner}.{name}{_signature(plain)}"
        elif isinstance(value, property):
            yield f"  {owner}.{name}"


def _signature(called: Any) -> str:
    try:
        text = str(inspect.signature(called))
    except ValueError:
        return ""
    return MODULE.sub("", ADDRESS.sub("", text))


if __name__ == "__main__":
    print("\n".join(lines()))
