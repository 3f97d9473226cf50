"""What a callback takes: whether a job's arguments fit it, how they are stored, and how they are handed over.

Read once per function. A call then looks at the shape of the arguments (how many, and which keywords), for which all
else is known.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from scheduler_core.domain.errors import InvalidArgumentsError
from scheduler_core.domain.jobs.argument_types import ArgumentType, UnreadableTypeError, is_of_json
from scheduler_core.domain.jobs.callback import callback_reference, is_generator_function
from scheduler_core.domain.jobs.json_value import NotJsonError, fresh_copy
from scheduler_core.domain.jobs.parameters import BY_NAME, CONTEXT, Assignment, Parameters, Problem, Shape
from scheduler_core.domain.wording import shown

if typing.TYPE_CHECKING:
    from scheduler_core.domain.jobs.job import JobDefinition

_NOTHING: Shape = (0, ())
_MOST_SHAPES = 100
_MOST_ARGUMENTS = 100
_MOST_LAYERS = 50
_ANYTHING = (Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD))

if sys.version_info >= (3, 14):
    import annotationlib

    _AS_WRITTEN: dict[str, Any] = {"annotation_format": annotationlib.Format.FORWARDREF}
else:
    _AS_WRITTEN: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class _Call:
    """How arguments of one shape are handed over: who reads what, and where the context goes."""

    positional: tuple[ArgumentType | None, ...]
    by_name: Mapping[str, ArgumentType | None]
    context_at: int | None
    context_by_name: bool


class CallSignature:
    """What one callable takes, as far as it can be known. `of` gives it.

    Parameters: function; name, the function's in messages; own, its parameters, None where Python can't tell them (as
    of some functions written in C); wrapped, those of the function that it wraps and hands its arguments on to.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, own: Parameters | None, wrapped: Parameters | None
    ) -> None:
        self.name = name
        self._own = own
        self._wrapped = wrapped
        self._shown = wrapped or own
        # Not the function itself: it would be kept as long as what is known of it.
        self._namespace = functools.partial(_namespace_of, _reference_to(function))
        self._makes_generator = is_generator_function(function)
        self._is_unbound = _is_unbound(function, self._shown)
        self._assignments: dict[Shape, Assignment] = {}
        self._calls: dict[Shape, _Call] = {}
        self._types: dict[str, ArgumentType | None] = {}

    @classmethod
    def of(cls, function: Callable[..., Any]) -> CallSignature:
        """The signature of a callable: remembered for a function, for as long as the function lives."""
        if type(function) is not types.FunctionType:
            return cls._read(function)
        known = _known.get(function)
        if known is None:
            known = _known[function] = cls._read(function)
        return known

    @classmethod
    def _read(cls, function: Callable[..., Any]) -> CallSignature:
        name = callback_reference(function)
        own = _parameters_of(function, name, follow_wrapped=False)
        if not any(map(_has_wrapped, _layers(function))):
            return cls(function, name, own, None)
        wrapped = _parameters_of(function, name, follow_wrapped=True)
        if own is None and wrapped is not None:
            # Written in C, as `functools.lru_cache` is.
            own = Parameters(name, _ANYTHING)
        if own is None or wrapped is None or wrapped.listed == own.listed:
            return cls(function, name, own, None)
        # A wrapper that takes anything, and names nothing that what it wraps does not have, hands its arguments on.
        hands_on = own.takes_more and own.by_name.keys() <= wrapped.by_name.keys()
        return cls(function, name, own, wrapped if hands_on else None)

    @property
    def takes_context(self) -> bool:
        """Whether it has a parameter `ctx`."""
        return self._shown is not None and self._shown.context is not None

    # When a job is declared.

    def problems(self, count: int, names: Sequence[str]) -> Sequence[Problem]:
        """What is wrong with a call of so many arguments by position, and these by keyword."""
        if self._makes_generator:
            told = "is a generator function, and a call runs nothing of it: give a function that goes through it"
            return (Problem("callback", f"{self.name} {told}"),)
        if self._is_unbound and "self" not in names:
            told = "is a method, and nobody gives it its instance: name a static or class method, or a plain function"
            return (Problem("callback", f"{self._shown} {told}"),)
        return self._assign((count, tuple(names))).problems

    def doubt(self, definition: JobDefinition) -> str | None:
        """What a job's callback seems to lack, where only a decorator may know better; None if nothing."""
        if self._wrapped is None:
            return None
        missing = [
            problem.text for problem in self._wrapped.assign(_shape_of(definition)).problems if problem.is_missing
        ]
        return f"{missing[0]}; every run fails, unless what wraps the function adds it" if missing else None

    def store(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], list[Problem]]:
        """The arguments as JSON where an annotation says that they are something else, and what is wrong with them.

        What no annotation says anything about is left as it is, also what JSON doesn't have.
        """
        assignment = self._assign((len(args), tuple(kwargs)))
        problems: list[Problem] = []

        def stored(field: str, key: int | str, value: Any, taker: Parameter | None) -> Any:
            kind = self._known_type_of(taker)
            if kind is None:
                return value
            try:
                return kind.write(value)
            except NotJsonError as error:
                error.steps.append(key)
                problems.append(Problem(field, str(error)))
            except ValueError as error:
                problems.append(Problem(field, f"value[{shown(key)}] {error}"))
            return None

        positional = [
            stored("args", index, value, taker)
            for index, (value, taker) in enumerate(zip(args, assignment.positional, strict=True))
        ]
        by_name = {name: stored("kwargs", name, value, assignment.by_name[name]) for name, value in kwargs.items()}
        return positional, by_name, problems

    def hint(self, args: Sequence[Any], kwargs: Mapping[str, Any], key: int | str) -> str:
        """How the argument under this index or keyword could be of a type that JSON doesn't have; "" if not at all."""
        assignment = self._assign((len(args), tuple(kwargs)))
        if isinstance(key, str):
            taker, value = assignment.by_name[key], kwargs[key]
        else:
            taker, value = assignment.positional[key], args[key]
        if taker is None:
            return ""
        try:
            self._type_of(taker)
        except UnreadableTypeError as error:
            return f", or an annotation that can be used: {error}"
        return f", or annotate the parameter {_annotated(taker, value)}"

    def check(self, definition: JobDefinition) -> None:
        """Raises InvalidArgumentsError if a stored job's arguments are none that the callback takes."""
        problems = [*self.problems(len(definition.args), tuple(definition.kwargs))]
        problems += self.store(definition.args, definition.kwargs)[2]
        if problems:
            listed = "; ".join(f"{problem.field}: {problem.text}" for problem in problems)
            raise InvalidArgumentsError(f"The job {shown(definition.job_id)} can't be accepted: {listed}.")

    # When a job is called.

    def bind(self, definition: JobDefinition, context: Any) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of one call, its own to change.

        Raises InvalidArgumentsError if what is stored can't be read as the callback's annotations say.
        """
        args, kwargs = definition.args, definition.kwargs
        if not args and not kwargs:
            bare = self._call_of(_NOTHING)
            return [context] if bare.context_at is not None else [], {CONTEXT: context} if bare.context_by_name else {}
        call = self._call_of((len(args), tuple(kwargs)))
        positional = [
            fresh_copy(value) if kind is None else self._read_stored(definition, "args", index, value, kind)
            for index, (value, kind) in enumerate(zip(args, call.positional, strict=True))
        ]
        by_name = {
            name: fresh_copy(value)
            if (kind := call.by_name[name]) is None
            else self._read_stored(definition, "kwargs", name, value, kind)
            for name, value in kwargs.items()
        }
        if call.context_at is not None:
            positional.insert(call.context_at, context)
        elif call.context_by_name:
            by_name[CONTEXT] = context
        return positional, by_name

    def _read_stored(
        self, definition: JobDefinition, field: str, key: int | str, value: Any, kind: ArgumentType
    ) -> Any:
        try:
            return kind.read(value)
        except ValueError as error:
            raise InvalidArgumentsError(
                f"the job {shown(definition.job_id)} can't be called: {field}: value[{shown(key)}] is {shown(value)}, "
                f"which {self._shown} can't read as {kind.name}: {error}: correct the job, or the annotation"
            ) from None

    def _call_of(self, shape: Shape) -> _Call:
        call = self._calls.get(shape)
        if call is None:
            assignment = self._assign(shape)
            call = _Call(
                tuple(map(self._known_type_of, assignment.positional)),
                {name: self._known_type_of(taker) for name, taker in assignment.by_name.items()},
                assignment.context_at,
                assignment.context_by_name,
            )
            if _is_worth_keeping(shape, self._calls):
                self._calls[shape] = call
        return call

    def _known_type_of(self, taker: Parameter | None) -> ArgumentType | None:
        try:
            return None if taker is None else self._type_of(taker)
        except UnreadableTypeError:
            return None

    # What is known of parameters.

    def _assign(self, shape: Shape) -> Assignment:
        found = self._assignments.get(shape)
        if found is None:
            found = self._assigned(shape)
            if _is_worth_keeping(shape, self._assignments):
                self._assignments[shape] = found
        return found

    def _assigned(self, shape: Shape) -> Assignment:
        count, names = shape
        if self._own is None:
            return Assignment((None,) * count, dict.fromkeys(names), None, False, ())
        return self._own.assign(shape) if self._wrapped is None else _handed_on(self._own, self._wrapped, shape)

    def _type_of(self, parameter: Parameter) -> ArgumentType | None:
        """What the annotation says, if JSON doesn't say it. Raises UnreadableTypeError.

        A name that can't be resolved may be defined later: a module's classes, below the function that names them.
        """
        if parameter.name in self._types:
            return self._types[parameter.name]
        annotation = parameter.annotation
        if annotation is Parameter.empty:
            return None
        try:
            holder = types.SimpleNamespace(__annotations__={parameter.name: annotation})
            resolved = typing.get_type_hints(holder, globalns=self._namespace(), include_extras=True)[parameter.name]
            is_plain = is_of_json(resolved)
        except Exception as error:
            raise UnreadableTypeError(f"{type(error).__name__}: {error}") from error
        kind = None if is_plain else ArgumentType(resolved, takes_none=parameter.default is None)
        self._types[parameter.name] = kind
        return kind


_known: weakref.WeakKeyDictionary[Callable[..., Any], CallSignature] = weakref.WeakKeyDictionary()


def _is_worth_keeping(shape: Shape, kept: Mapping[Shape, Any]) -> bool:
    return len(kept) < _MOST_SHAPES and shape[0] + len(shape[1]) < _MOST_ARGUMENTS


def _shape_of(definition: JobDefinition) -> Shape:
    return len(definition.args), tuple(definition.kwargs)


def _handed_on(own: Parameters, wrapped: Parameters, shape: Shape) -> Assignment:
    """Through a wrapper, which takes what it takes, and may add what is missing before it hands the rest on."""
    count, names = shape
    found = wrapped.assign(shape)
    # What is given by position stands where it is given only if nothing is added before it.
    is_whole = not any(problem.is_missing for problem in found.problems)
    ways: list[tuple[int | None, bool]] = []
    if found.context_at is not None and (is_whole or found.context_at == 0):
        ways.append((found.context_at, False))
    if wrapped.context is not None and wrapped.context.kind in BY_NAME:
        ways.append((None, True))
    attempts = [
        (
            at,
            by_name,
            own.assign((count + (at is not None), names + (CONTEXT,) * by_name), fills_context=False).problems,
        )
        for at, by_name in ways or [(None, False)]
    ]
    at, by_name, problems = next((one for one in attempts if not one[2]), attempts[0])
    return Assignment(
        found.positional if is_whole else (None,) * count,
        found.by_name,
        at,
        by_name,
        problems or tuple(problem for problem in found.problems if not problem.is_missing),
    )


def _parameters_of(function: Callable[..., Any], name: str, *, follow_wrapped: bool) -> Parameters | None:
    try:
        signature = inspect.signature(function, follow_wrapped=follow_wrapped, **_AS_WRITTEN)
    except Exception:  # noqa: BLE001 - an object may answer with anything when it is asked for its signature
        return None
    return Parameters(name, list(signature.parameters.values()))


def _layers(function: Any) -> Iterator[Any]:
    """The callable, and what it calls in turn, down to the function that somebody wrote."""
    for _ in range(_MOST_LAYERS):
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif _has_wrapped(function):
            function = function.__wrapped__
        elif isinstance(function, type) or inspect.isroutine(function):
            return
        else:
            function = type(function).__call__


def _has_wrapped(function: Any) -> bool:
    return "__wrapped__" in getattr(function, "__dict__", ())


def _namespace_of(reference: Callable[[], Any]) -> dict[str, Any]:
    """Where the names in a callable's annotations are looked up."""
    *_, innermost = _layers(reference())
    found = getattr(innermost, "__globals__", None)
    if not isinstance(found, dict):
        found = vars(sys.modules.get(getattr(innermost, "__module__", None) or "builtins", builtins))
    return found


def _reference_to(function: Callable[..., Any]) -> Callable[[], Any]:
    return weakref.ref(function) if type(function) is types.FunctionType else lambda: function


def _is_unbound(function: Any, parameters: Parameters | None) -> bool:
    """Whether it is a method that was taken from its class, and not from an instance."""
    while isinstance(function, functools.partial):
        function = function.func
    owner = getattr(function, "__qualname__", "").rpartition(".")[0] if inspect.isfunction(function) else ""
    return bool(
        owner
        and not owner.endswith("<locals>")
        and parameters
        and parameters.listed
        and parameters.listed[0].name == "self"
    )


def _annotated(taker: Parameter, value: Any) -> str:
    stars = "*" if taker.kind is Parameter.VAR_POSITIONAL else "**" if taker.kind is Parameter.VAR_KEYWORD else ""
    held = " with what it holds" if isinstance(value, (list, tuple, dict)) else f": {type(value).__name__}"
    return f"{stars}{taker.name}{held}"
