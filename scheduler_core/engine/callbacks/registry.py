"""Which callback a job means, and whether this process may call it.

The database stores a name, and beside it the application whose code gave it. A name from a row is called only

    if this process has declared the very job with it,
    or the job belongs to this application, or to none, and the name was declared or marked here, or is under
    `allowed_callbacks`,
    or this application's own code has added the job, and it is a function of one of the application's own modules,
    but never a job that code declares as it starts, and this code only declares others with that name, where nobody has
    said what the application is called: two services that each have `jobs:run` (huey #436, taskiq #507)

and what is looked up by its name reaches only what its module defines (`callback_resolution`): a row can't make us run
any function it likes, nor another program's of the same name.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scheduler_core.domain.errors import CallbackNotAllowedError, CallbackNotFoundError
from scheduler_core.domain.jobs.abilities import Abilities, as_like, is_bound_to_program
from scheduler_core.domain.jobs.call_signature import CallSignature
from scheduler_core.domain.jobs.callback import callback_reference, is_importable_reference, matches
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.engine.callbacks.own_modules import OwnModules
from scheduler_core.engine.callbacks.resolution import resolve_callback

_marked: dict[str, Callable[..., Any]] = {}
"""What code has marked with `@callback`: a property of the code, and so known to every scheduler of the process."""


def mark_callback(function: Callable[..., Any]) -> str:
    """Make a function callable by its name, for jobs that come from anywhere; returns the name."""
    reference = callback_reference(function)
    _marked[reference] = function
    return reference


@dataclass(frozen=True, slots=True)
class Callback:
    """A callable, and what must be known to call it: whether it is a coroutine, and what it takes."""

    reference: str
    function: Callable[..., Any]
    is_async: bool
    signature: CallSignature

    @property
    def wants_context(self) -> bool:
        """Whether it takes `ctx`."""
        return self.signature.takes_context


class CallbackRegistry:
    """The callbacks of this process.

    Parameters: application, whose code this is; allowed_callbacks, names that may be looked up for jobs of others:
    `package.module` for all of a module, `package.module:function`, or either with `*`; own_modules, whose functions
    the jobs that this application's code has added may name; is_name_given, whether somebody has said what the
    application is called: else another program may be called the same.
    """

    def __init__(
        self,
        application: str,
        allowed_callbacks: Iterable[str] = (),
        *,
        own_modules: OwnModules | None = None,
        is_name_given: bool = True,
    ) -> None:
        self.application = application
        self._is_name_given = is_name_given
        self._allowed = tuple(allowed_callbacks)
        self._own_modules = own_modules or OwnModules(is_trusted=False)
        self._declared: dict[str, Callback] = {}
        self._bound: dict[str, Callback] = {}
        self._named: set[str] = set()
        self._reference_of: dict[str, str] = {}
        """What the jobs that this process has declared call, by their ids."""
        self._declarations: Counter[str] = Counter()
        """How many of them call it."""
        self._permitted: dict[str, Callback] = {}
        """What was looked up because code has named it, or `allowed_callbacks` allows it."""
        self._own: dict[str, Callback] = {}
        """What was looked up in the application's own modules: for its own jobs alone."""

    def register(self, callback: Callable[..., Any] | str) -> str:
        """Make a callback callable by its name; returns the name."""
        if isinstance(callback, str):
            self._named.add(callback)
            return callback
        return self._describe(callback).reference

    def bind(self, job_id: str, callback: Callable[..., Any] | str) -> str:
        """Register a job's callback; a lambda or closure is found by the job's id, in this process only."""
        self.unbind(job_id)
        if isinstance(callback, str):
            self._named.add(callback)
            reference = callback
        else:
            self._bound[job_id] = described = self._describe(callback)
            reference = described.reference
        self._reference_of[job_id] = reference
        self._declarations[reference] += 1
        return reference

    def _describe(self, callback: Callable[..., Any]) -> Callback:
        """Look at a callable, unless it is the one that already goes by its name; the last of a name goes by it."""
        reference = callback_reference(callback)
        known = self._declared.get(reference)
        if known is None or known.function is not callback:
            known = self._declared[reference] = describe(reference, callback)
        return known

    def unbind(self, job_id: str) -> None:
        """Forget what a removed job was bound to."""
        self._bound.pop(job_id, None)
        if (reference := self._reference_of.pop(job_id, None)) is not None:
            self._declarations[reference] -= 1

    def find(self, job: StoredJob) -> Callback:
        """The callback of a job.

        Raises CallbackNotAllowedError, CallbackNotFoundError; both say what to do.
        """
        if self._is_of_a_namesake(job):
            raise self._perhaps_not_ours(job)
        return self._find(job.definition, job.application)

    def _is_of_a_namesake(self, job: StoredJob) -> bool:
        """Whether it looks like another program's job: see the module's last rule."""
        if self._is_name_given or job.application != self.application or job.added_at_run_time is not False:
            return False
        reference = job.definition.callback
        return self._declarations[reference] > 0 and self._reference_of.get(job.job_id) != reference

    def _find(self, definition: JobDefinition, application: str | None) -> Callback:
        reference = definition.callback
        is_ours = application is None or application == self.application
        bound = self._bound.get(definition.job_id)
        if bound is not None and bound.reference == reference and (is_ours or not is_bound_to_program(reference)):
            return bound
        if not is_ours:
            raise self._not_ours(definition, application)
        if not is_importable_reference(reference):
            raise CallbackNotFoundError(
                f"job {definition.job_id!r} calls {reference}, a lambda or local function that only the process "
                "that added it can call: move it to the top level of a module"
            )
        known = self._declared.get(reference)
        if known is not None:
            return known
        if (marked := _marked.get(reference)) is not None:
            return self._describe(marked)
        return self._look_up(definition, application)

    def _look_up(self, definition: JobDefinition, application: str | None) -> Callback:
        """By its name alone, as far as the job may have that looked up."""
        reference = definition.callback
        if (known := self._permitted.get(reference)) is not None:
            return known
        if application is not None and (known := self._own.get(reference)) is not None:
            return known
        if reference in self._named or matches(reference, self._allowed):
            found = self._permitted
        elif application is not None and self._own_modules.covers(reference.partition(":")[0]):
            found = self._own
        else:
            raise self._not_known(definition)
        found[reference] = described = describe(reference, resolve_callback(reference))
        return described

    def can_call(self, job: StoredJob) -> bool:
        """Whether `find` would succeed."""
        try:
            self.find(job)
        except CallbackNotFoundError:
            return False
        return True

    def check_arguments(self, definition: JobDefinition, application: str | None = None) -> str | None:
        """Refuse arguments that the job's callback does not take, as far as it can be asked in this process.

        Parameters: application, whose code names the callback; None where no code does.
        Returns what it seems to lack, where only a decorator may know better; None if nothing.
        Raises InvalidArgumentsError.
        """
        try:
            signature = self._find(definition, application).signature
        except CallbackNotFoundError:
            return None
        signature.check(definition)
        return signature.doubt(definition)

    def problem_elsewhere(self, callback: Callable[..., Any] | str) -> str | None:
        """Why a replica of this application that starts anew could not call this; None where it could."""
        reference = callback if isinstance(callback, str) else callback_reference(callback)
        if not is_importable_reference(reference):
            return f"{reference} is no name that another process finds it by"
        if reference in _marked or matches(reference, self._allowed):
            return None
        if not self._own_modules.covers(reference.partition(":")[0]):
            return f"{reference} is not of the application's own modules, nor under allowed_callbacks"
        try:
            resolve_callback(reference)
        except CallbackNotFoundError as error:
            return str(error)
        return None

    def abilities(self) -> Abilities:
        """What this process can call, as far as it is known now."""
        return Abilities(
            self.application,
            tuple(sorted({*self._declared, *self._named, *_marked})),
            self._own_modules.packages(),
            as_like(self._allowed),
        )

    def _not_ours(self, definition: JobDefinition, application: str | None) -> CallbackNotFoundError:
        return CallbackNotFoundError(
            f"job {definition.job_id!r} was added by the application {application!r}, and this replica runs "
            f"{self.application!r}: start a replica of that one; if both are one program, set `application` to the "
            "same name in both"
        )

    def _perhaps_not_ours(self, job: StoredJob) -> CallbackNotFoundError:
        return CallbackNotFoundError(
            f"job {job.job_id!r} is none that this process declares, and {job.definition.callback} is declared here "
            f"for others: another program that is called {self.application!r} too may have a function of that name. If "
            "it is another program, set `application` to a name of its own in each; if it is this one, set it to the "
            "same name in every replica; if no code declares the job any more, remove it: `scheduler jobs prune`"
        )

    def _not_known(self, definition: JobDefinition) -> CallbackNotAllowedError:
        return CallbackNotAllowedError(
            f"job {definition.job_id!r} calls {definition.callback}, which this process has not declared: import its "
            "module where the jobs are declared (--app), mark it with @callback, or add it to allowed_callbacks"
        )


def describe(reference: str, function: Callable[..., Any]) -> Callback:
    """Look at a callable once, so that no fire has to."""
    bare: Any = function
    while isinstance(bare, functools.partial):
        bare = bare.func
    of_instance = getattr(type(bare), "__call__", None)  # noqa: B004 - an object whose call is a coroutine
    is_async = inspect.iscoroutinefunction(bare) or inspect.iscoroutinefunction(of_instance)
    return Callback(reference, function, is_async, CallSignature.of(function))
