"""Which of a function's parameters takes which of the arguments that it is called with.

What `inspect.Signature.bind` does, by the shape of a call alone: how many arguments are given by position, and which
by keyword. And every problem is told, with what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature

from scheduler_core.domain.wording import did_you_mean, shown

CONTEXT = "ctx"
"""The parameter that the scheduler fills in, if a function has one of this name."""

_MOST_PROBLEMS = 5
_UNKNOWN = "takes no such keyword"

Shape = tuple[int, tuple[str, ...]]
"""How many arguments are given by position, and the names of those given by keyword."""

BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
OF_MANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a call of this shape fails. `field` is that of the job which has to be put right."""

    field: str
    text: str
    is_missing: bool = False
    """Whether something is not given: somebody in between may yet add it."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who takes what; None stands where nobody does. The context goes before the argument `context_at`, or by name."""

    positional: tuple[Parameter | None, ...]
    by_name: Mapping[str, Parameter | None]
    context_at: int | None
    context_by_name: bool
    problems: tuple[Problem, ...]


class Parameters:
    """The parameters of one callable.

    Parameters: name, the callable's in messages; listed, as `inspect` has them.
    """

    def __init__(self, name: str, listed: Sequence[Parameter]) -> None:
        self.listed = tuple(listed)
        self.by_name = {parameter.name: parameter for parameter in listed if parameter.kind not in OF_MANY}
        self._name = name
        self._rest = next((one for one in listed if one.kind is Parameter.VAR_POSITIONAL), None)
        self._more = next((one for one in listed if one.kind is Parameter.VAR_KEYWORD), None)
        self._in_line = [one for one in listed if one.kind in BY_POSITION]

    @property
    def takes_more(self) -> bool:
        """Whether it has `*args` or `**kwargs`."""
        return self._rest is not None or self._more is not None

    @property
    def context(self) -> Parameter | None:
        """The parameter that takes the context, if there is one."""
        return self.by_name.get(CONTEXT)

    def assign(self, shape: Shape, *, fills_context: bool = True) -> Assignment:
        """Who takes what in a call of this shape.

        Parameters: fills_context, whether the scheduler fills `ctx` in; else it is a parameter like any other.
        """
        count, names = shape
        context = self.context if fills_context else None
        in_line, context_at = self._in_line, None
        if context in in_line and count >= in_line.index(context):
            context_at = in_line.index(context)
            in_line = [one for one in in_line if one is not context]
        positional = tuple(in_line[index] if index < len(in_line) else self._rest for index in range(count))
        problems: list[Problem] = []
        if self._rest is None and count > len(in_line):
            problems.append(self._problem(shape, "args", f"takes at most {len(in_line)} by position: leave some out"))
        filled = {parameter.name for parameter in positional if parameter in in_line}
        by_name: dict[str, Parameter | None] = {}
        for name in names:
            taker, told = self._taker_of(name, context, filled)
            by_name[name] = taker
            if told is not None and len(problems) < _MOST_PROBLEMS:
                if told is _UNKNOWN:
                    told = f"takes no {shown(name)}{did_you_mean(name, self._names(context))}: correct or remove it"
                problems.append(self._problem(shape, "kwargs", told))
        context_by_name = context is not None and context_at is None and context.kind in BY_NAME
        lacking = [one for one in self.listed if one is not context and _is_required(one)]
        if context is not None and context_at is None and not context_by_name and _is_required(context):
            # By position only, and so is all that stands before it.
            before = self._in_line[: self._in_line.index(context)]
            lacking = before + [one for one in lacking if one not in before]
        missing = [one.name for one in lacking if one.name not in filled and by_name.get(one.name) is not one]
        if missing:
            told = f"needs {', '.join(missing)}: give {'it' if len(missing) == 1 else 'them'} in args or kwargs"
            problems.append(self._problem(shape, "args", told, is_missing=True))
        return Assignment(positional, by_name, context_at, context_by_name, tuple(problems))

    def _taker_of(self, name: str, context: Parameter | None, filled: set[str]) -> tuple[Parameter | None, str | None]:
        """Who takes what is given under a name, and what is wrong with it."""
        parameter = self.by_name.get(name)
        if parameter is not None and parameter is context:
            return None, f"gets {CONTEXT!r} from the scheduler: remove it"
        if parameter is None or parameter.kind is Parameter.POSITIONAL_ONLY:
            if self._more is not None:
                return self._more, None
            if parameter is not None:
                return None, f"takes {name!r} by position only: move it to args"
            return None, _UNKNOWN
        if name in filled:
            return None, f"gets {name!r} twice, by position and by keyword: give it once"
        return parameter, None

    def _names(self, context: Parameter | None) -> list[str]:
        """What may be given by keyword."""
        return [name for name, one in self.by_name.items() if one is not context and one.kind in BY_NAME]

    def _problem(self, shape: Shape, field: str, told: str, *, is_missing: bool = False) -> Problem:
        return Problem(field, f"{self} {told} (given: {_in_words(shape)})", is_missing)

    def __str__(self) -> str:
        """As one would write it, with `...` for defaults, without annotations and without the context."""
        plain = [
            one.replace(annotation=Parameter.empty, default=one.empty if one.default is one.empty else _ANYTHING)
            for one in self.listed
            if one.name != CONTEXT or one.kind in OF_MANY
        ]
        text = str(Signature(plain, __validate_parameters__=False))
        return f"{self._name}{text if len(text) <= 200 else text[:197] + '...'}"


class _Anything:
    def __repr__(self) -> str:
        return "..."


_ANYTHING = _Anything()


def _is_required(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind not in OF_MANY


def _in_words(shape: Shape) -> str:
    count, names = shape
    given = [f"{count} by position"] if count else []
    if names:
        given.append(", ".join(map(shown, names[:10])) + (" and more" if len(names) > 10 else ""))
    return " and ".join(given) or "nothing"
