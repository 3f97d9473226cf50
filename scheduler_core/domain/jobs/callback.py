"""How a callback is named: `module:qualname`, which is what is stored of it."""

from __future__ import annotations

import fnmatch
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.wording import shown


def callback_reference(callback: Callable[..., Any]) -> str:
    """The name of a callable: `module:qualname`.

    Functions, classes, static methods and class methods are named so that the name can be imported. What a
    name alone can't bring back carries a `<` (see `is_importable_reference`): lambdas and closures as Python
    names them (`app:main.<locals>.<lambda>`), `app:<partial>.f`, `app:<bound>.Class.method`,
    `app:<instance>.Class`.

    Raises InvalidJobError for what can't be called.
    """
    if not callable(callback):
        raise InvalidJobError(f"{shown(callback)} can't be called: give a function or a string 'module:qualname'.")
    if isinstance(callback, functools.partial):
        return _mark("<partial>", callback_reference(callback.func))
    owner = getattr(callback, "__self__", None)
    name = getattr(callback, "__name__", None)
    if owner is not None and not isinstance(owner, ModuleType) and isinstance(name, str):
        if isinstance(owner, type):
            # A class method is looked up on the class it was taken from, which may have inherited it.
            return f"{owner.__module__}:{owner.__qualname__}.{name}"
        return f"{type(owner).__module__}:<bound>.{type(owner).__qualname__}.{name}"
    qualname = getattr(callback, "__qualname__", None)
    if not isinstance(qualname, str):
        return f"{type(callback).__module__}:<instance>.{type(callback).__qualname__}"
    holder = getattr(callback, "__objclass__", None)
    module = getattr(callback, "__module__", None) or getattr(holder, "__module__", None) or "builtins"
    # Thousands of jobs may name one function: they share the text.
    return sys.intern(f"{module}:{qualname}")


def is_generator_function(callback: Callable[..., Any]) -> bool:
    """Whether a call makes a generator, sync or async, which does nothing until somebody goes through it.

    A generator that can be awaited (`types.coroutine`) is none of these, nor is a wrapper around one, such as
    `contextlib.contextmanager`: what that returns is its own affair.
    """
    while isinstance(callback, functools.partial):
        callback = callback.func
    if not inspect.isroutine(callback) and not isinstance(callback, type):
        callback = type(callback).__call__
    code = getattr(callback, "__code__", None)
    if code is not None and code.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return False
    return inspect.isgeneratorfunction(callback) or inspect.isasyncgenfunction(callback)


def is_importable_reference(reference: str) -> bool:
    """Whether another process could find the callback by this name alone; False for closures and the like."""
    return "<" not in reference


def check_reference(reference: str) -> str:
    """`reference` itself when it reads `module:qualname`. Raises InvalidJobError when not."""
    module, colon, qualname = reference.partition(":")
    parts = [*module.split("."), *qualname.split(".")]
    if not colon or len(reference) > 500 or not all(part.isidentifier() for part in parts):
        raise InvalidJobError(
            f"the callback's name can't be {shown(reference)}: give a function, or 'module:qualname' "
            "of at most 500 characters, such as 'app.jobs:send_report'"
        )
    return reference


def matches(reference: str, allowed_callbacks: Iterable[str]) -> bool:
    """Whether a callback lies under `allowed_callbacks`.

    Parameters: allowed_callbacks, `package.module` for all of a module, `package.module:function`, or either with `*`.
    """
    module = reference.partition(":")[0]
    return any(fnmatch.fnmatchcase(reference if ":" in pattern else module, pattern) for pattern in allowed_callbacks)


def _mark(mark: str, reference: str) -> str:
    module, _, qualname = reference.partition(":")
    return f"{module}:{mark}.{qualname}"
