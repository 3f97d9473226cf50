"""From a callback's name to the function: the one place that decides what a name may reach.

Names come from code, the API, the command line, a file of jobs and rows of the database, and are looked up by replicas,
processes of a pool and workers of a cluster. All of them ask here. Whoever may write a name must reach no more than the
module that it names was written to offer. `svc.app` imports `logging`, so `svc.app:logging.os.system` would be anything
at all. So a name leads to a function that is *defined* in the module, by classes that are defined there, and to nothing
else: through no module and no instance, to no inherited or borrowed function, by no name with two underscores at either
end.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from scheduler_core.domain.errors import CallbackNotAllowedError, CallbackNotFoundError

MOST_WRAPPERS = 100
"""Decorators around one function, beyond which they are taken for a ring."""


def resolve_callback(reference: str) -> Callable[..., Any]:
    """The function that `module:qualname` names; its module is imported for it.

    Parameters: reference, a name of the form that `domain.callback.check_reference` accepts.
    Raises CallbackNotFoundError if there is no such module or name, or the module fails to import;
    CallbackNotAllowedError if the name leads to anything but a function that is defined in that module.
    """
    return _find_in(_import(reference.partition(":")[0]), reference)


def check_callback_name(reference: str) -> None:
    """Refuse a name that leads to what it may not reach, or nowhere, as far as this process can tell.

    A process that only takes definitions in may lack the module: a replica that has it decides again, each time.
    Raises CallbackNotFoundError, CallbackNotAllowedError.
    """
    try:
        module = _import(reference.partition(":")[0])
    except CallbackNotFoundError:
        return
    _find_in(module, reference)


def functions_defined_in(module: ModuleType) -> list[Callable[..., Any]]:
    """Its own public functions, as `resolve_callback` would find each by its name."""
    found = []
    for name in vars(module):
        if not name.startswith("_"):
            with contextlib.suppress(CallbackNotFoundError):
                function = _find_in(module, f"{module.__name__}:{name}")
                found.append(function)
    return found


def _find_in(module: ModuleType, reference: str) -> Callable[..., Any]:
    module_name, _, qualname = reference.partition(":")
    steps = qualname.split(".")
    for step in steps:
        if step.startswith("__") and step.endswith("__"):
            raise _not_allowed(reference, f"{step} belongs to Python's own machinery")
    if module.__name__ != module_name:
        raise _not_allowed(reference, f"{module_name} is another name of {module.__name__}")
    holder: ModuleType | type = module
    for depth, step in enumerate(steps[:-1], start=1):
        found = _member(holder, step, reference)
        if not isinstance(found, type) or not _is_named(found, module_name, ".".join(steps[:depth])):
            raise _not_allowed(reference, f"{'.'.join(steps[:depth])} is no class that is defined there")
        holder = found
    member = _member(holder, steps[-1], reference)
    function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
    if not isinstance(function, FunctionType) or not _is_named(function, module_name, qualname):
        raise _not_allowed(reference, f"{qualname} is no function that is defined there")
    if not _is_written_in(function, module):
        raise _not_allowed(reference, f"{qualname} wraps a function of another module")
    if isinstance(member, classmethod) and isinstance(holder, type):
        bound: Callable[..., Any] = member.__get__(None, holder)
        return bound
    return function


def _import(module_name: str) -> ModuleType:
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:
        # Also one that ends "the program" at import: it is this name's alone.
        raise CallbackNotFoundError(
            f"the module {module_name!r} can't be imported ({type(error).__name__}: {error})"
        ) from error
    return module


def _member(holder: ModuleType | type, name: str, reference: str) -> Any:
    """What stands in the module or class itself: nothing inherited, nothing that it makes up when asked."""
    try:
        return vars(holder)[name]
    except KeyError:
        where = "the module" if isinstance(holder, ModuleType) else f"the class {holder.__qualname__!r} of"
        module_name, _, qualname = reference.partition(":")
        raise CallbackNotFoundError(
            f"{where} {module_name!r} does not define {name!r}, and so not {qualname!r}: correct the callback"
        ) from None


def _is_named(found: Any, module_name: str, qualname: str) -> bool:
    return bool(found.__module__ == module_name and found.__qualname__ == qualname)


def _is_written_in(function: FunctionType, module: ModuleType) -> bool:
    """Whether what is under all decorators is a function of the module's own text, whatever it says of itself."""
    innermost: Any = function
    for _ in range(MOST_WRAPPERS):
        # In the function's own attributes, as `functools.wraps` leaves it there.
        wrapped = getattr(innermost, "__wrapped__", None)
        if wrapped is None:
            return isinstance(innermost, FunctionType) and innermost.__globals__ is vars(module)
        innermost = wrapped
    return False


def _not_allowed(reference: str, problem: str) -> CallbackNotAllowedError:
    module_name = reference.partition(":")[0]
    return CallbackNotAllowedError(
        f"the callback {reference!r} can't be called by its name: {problem}. A name reaches only functions, "
        f"and functions of classes, that {module_name} itself defines: define one there that does what you want"
    )
