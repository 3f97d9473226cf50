"""Which callback a job means, and whether this process may call it.

The database stores a name. A name from a row is only ever looked up if this process registered it, or if it lies under
`allowed_callbacks`, and then reaches only what its module defines (`callback_resolution`): a row can't make us run any
function it likes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scheduler_core.domain.callback import matches
from scheduler_core.domain.errors import CallbackNotAllowedError, CallbackNotFoundError
from scheduler_core.domain.job import JobDefinition, callback_reference
from scheduler_core.engine.callback_resolution import resolve_callback


@dataclass(frozen=True, slots=True)
class Callback:
    """A callable, and what must be known to call it: whether it is a coroutine, whether it takes `ctx`."""

    reference: str
    function: Callable[..., Any]
    is_async: bool
    wants_context: bool
    context_first: bool = False
    """Whether `ctx` is the first parameter, and so comes before the job's `args`."""


class Registry:
    """The callbacks of this process.

    Parameters: allowed_callbacks, names that may be imported for jobs of others: `package.module` for all of a
    module, `package.module:function`, or either with `*`.
    """

    def __init__(self, allowed_callbacks: Iterable[str] = ()) -> None:
        self._allowed = tuple(allowed_callbacks)
        self._registered: dict[str, Callback] = {}
        self._bound: dict[str, Callback] = {}
        self._named: set[str] = set()

    def register(self, callback: Callable[..., Any] | str) -> str:
        """Make a callback callable by its name; returns the name."""
        if isinstance(callback, str):
            self._named.add(callback)
            return callback
        return self._describe(callback).reference

    def bind(self, job_id: str, callback: Callable[..., Any] | str) -> str:
        """Register a job's callback; a lambda or closure is found by the job's id, in this process only."""
        if isinstance(callback, str):
            return self.register(callback)
        self._bound[job_id] = described = self._describe(callback)
        return described.reference

    def _describe(self, callback: Callable[..., Any]) -> Callback:
        """Look at a callable, unless it is the one that already goes by its name; the last of a name goes by it."""
        reference = callback_reference(callback)
        known = self._registered.get(reference)
        if known is None or known.function is not callback:
            known = self._registered[reference] = describe(reference, callback)
        return known

    def unbind(self, job_id: str) -> None:
        """Forget what a removed job was bound to."""
        self._bound.pop(job_id, None)

    def find(self, definition: JobDefinition) -> Callback:
        """The callback of a job.

        Raises CallbackNotAllowedError, CallbackNotFoundError; both say what to do.
        """
        reference = definition.callback
        bound = self._bound.get(definition.job_id)
        if bound is not None and bound.reference == reference:
            return bound
        known = self._registered.get(reference)
        if known is not None and "<" not in reference:
            return known
        if "<" in reference:
            raise CallbackNotFoundError(
                f"job {definition.job_id!r} calls {reference}, a lambda or local function that only the process "
                "that added it can call: move it to the top level of a module"
            )
        if reference not in self._named and not self._is_allowed(reference):
            raise CallbackNotAllowedError(
                f"job {definition.job_id!r} calls {reference}, which this process has not registered: import its "
                "module with --app, or add it to allowed_callbacks"
            )
        callback = describe(reference, resolve_callback(reference))
        self._registered[reference] = callback
        return callback

    def can_call(self, definition: JobDefinition) -> bool:
        """Whether `find` would succeed."""
        try:
            self.find(definition)
        except CallbackNotFoundError:
            return False
        return True

    def references(self) -> tuple[str, ...]:
        """The names that this process can call, as far as they are known."""
        return tuple(sorted({*self._registered, *self._named}))

    def _is_allowed(self, reference: str) -> bool:
        return matches(reference, self._allowed)


def describe(reference: str, function: Callable[..., Any]) -> Callback:
    """Look at a callable once, so that no fire has to."""
    bare: Any = function
    while isinstance(bare, functools.partial):
        bare = bare.func
    of_instance = getattr(type(bare), "__call__", None)  # noqa: B004 - an object whose call is a coroutine
    is_async = inspect.iscoroutinefunction(bare) or inspect.iscoroutinefunction(of_instance)
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        parameters = []
    return Callback(reference, function, is_async, "ctx" in parameters, parameters[:1] == ["ctx"])
