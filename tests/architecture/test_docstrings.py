"""The public docstrings are Google style, as editors and the site read it; parameters and errors are the code's."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import scheduler_core
import scheduler_core.testing
from scheduler_core.domain import errors
from scheduler_core.domain.errors import WorkerDiedError
from scheduler_core.domain.runs.ticket import Ticket, Told
from scheduler_core.executors.service import open_service
from scheduler_core.ports.executor import Executor, ExecutorContext
from scheduler_core.service import job

HEADING = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example):")
ENTRY = re.compile(r" {4}(\*{0,2}\w+): \S")
PROSE = re.compile(r"\bParameters:|\bRaises [A-Z]\w*Error\b|\b[Rr]eturns (?:the|a|an|what|whether|None|True|False)\b")
"""What belongs into a section, and would be read by nobody but people."""

STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}

NOTHING = {"None", "Iterator[None]"}

PUBLIC = [
    *((name, getattr(scheduler_core, name)) for name in scheduler_core.__all__),
    *((name, getattr(scheduler_core.testing, name)) for name in scheduler_core.testing.__all__),
    *((one.__name__, one) for one in (Executor, ExecutorContext, Ticket, Told, WorkerDiedError, open_service)),
]


def is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("scheduler_core")


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public functions and properties of ours, but for those whose name and meaning another library gave."""
    ours = [one for one in kind.__mro__ if is_ours(one)]
    foreign = {name for one in kind.__mro__ if not is_ours(one) for name in vars(one)}
    named = {name: value for one in reversed(ours) for name, value in vars(one).items()}
    for name, value in named.items():
        plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if inspect.isfunction(plain) and not name.startswith("_") and name not in foreign:
            yield name, plain


def documented() -> Iterator[Any]:
    for name, value in PUBLIC:
        yield pytest.param(value, id=name)
        if inspect.isclass(value):
            yield from (pytest.param(member, id=f"{name}.{word}") for word, member in members(value))


EACH = list(documented())


def sections(docstring: str) -> dict[str, list[str]]:
    """The lines under each heading; what stands under none is under ""."""
    found: dict[str, list[str]] = {"": []}
    at = ""
    for line in docstring.splitlines():
        heading = HEADING.fullmatch(line)
        if heading is not None:
            at = heading[1]
        elif line and not line.startswith(" "):
            at = ""
        found.setdefault(at, []).append(line)
    return found


def entries(lines: list[str]) -> list[str]:
    return [match[1] for line in lines if (match := ENTRY.match(line))]


def layers(function: Callable[..., Any]) -> Iterator[Any]:
    """What is called, and what it stands for: a decorator of ours, or of the library's, may lie above it."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)  # type: ignore[assignment]


def parameters(value: Any) -> list[str]:
    """What a caller gives, as `Args:` names it; of a class whose constructor is none of ours, nothing."""
    if inspect.isclass(value):
        made_here = is_ours(inspect.unwrap(value.__init__)) or hasattr(value, "model_fields")
        if not made_here or getattr(value, "_is_protocol", False):
            return []
    given = [one for name, one in inspect.signature(value).parameters.items() if name not in {"self", "cls"}]
    return [STARS.get(one.kind, "") + one.name for one in given if not one.name.startswith("_")]


def raised_by_name(value: Any) -> set[str]:
    """The errors that the function's own body, or the class's constructor, raises; an assertion tells of none."""
    function = value.__init__ if inspect.isclass(value) else value
    named: set[str] = set()
    for layer in layers(function):
        if not (inspect.isfunction(layer) and is_ours(layer) and layer.__code__.co_filename.endswith(".py")):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(layer.__code__)))
        for node in ast.walk(tree):
            raised = node.exc if isinstance(node, ast.Raise) else None
            called = raised.func if isinstance(raised, ast.Call) else raised
            if isinstance(called, ast.Name) and called.id[0].isupper():
                named.add(called.id)
    return named - {"AssertionError"}


def names_around(value: Any) -> set[str]:
    """The errors that there are where the code stands."""
    function = inspect.unwrap(value.__init__ if inspect.isclass(value) else value)
    return {*vars(errors), *vars(builtins), *getattr(function, "__globals__", {})}


def gives_something(value: Any) -> bool:
    return not inspect.isclass(value) and inspect.signature(value).return_annotation not in NOTHING


def problems(value: Any) -> list[str]:
    docstring = inspect.getdoc(value) if value.__doc__ else ""
    if not docstring:
        return ["has no docstring"]
    found = sections(docstring)
    wrong = [] if docstring.splitlines()[1:2] in ([], [""]) else ["has a summary of more than one line"]
    named = entries([*found.get("Args", []), *found.get("Attributes", [])])
    if named != parameters(value):
        wrong.append(f"names {named}, and takes {parameters(value)}")
    raises = set(entries(found.get("Raises", [])))
    if untold := raised_by_name(value) - raises:
        wrong.append(f"raises {', '.join(sorted(untold))}, and does not say so")
    if unknown := raises - names_around(value):
        wrong.append(f"raises {', '.join(sorted(unknown))}, which there is not")
    if named and gives_something(value) and not {"Returns", "Yields"} & found.keys():
        wrong.append("takes something, and does not say what comes back")
    if (prose := PROSE.search(" ".join(found[""]))) is not None:
        wrong.append(f"says {prose[0]!r} in a sentence, which belongs into a section")
    return wrong


@pytest.mark.parametrize("value", EACH)
def test_a_public_docstring_says_what_the_code_says(value: Any) -> None:
    assert problems(value) == []


def test_what_is_public_is_looked_at() -> None:
    ids = {one.id for one in EACH}
    assert len(ids) == len(EACH) > 200
    assert {"SchedulerService.trigger_job", "job", "Container.ask_to_resign", "Executor.execute"} <= ids
    assert {"LockService.hold", "Settings.timing", "VirtualClock.timeout", "ScheduleJob.definition"} <= ids


def test_a_policy_is_described_once() -> None:
    """`@job` and `ScheduleJob` take the same policies, and say the same of each."""
    both = []
    for value in (scheduler_core.ScheduleJob, job):
        text = "\n".join(sections(inspect.getdoc(value) or "")["Args"])
        parts = re.split(r"^ {4}(\w+): ", text, flags=re.MULTILINE)
        both.append(dict(zip(parts[1::2], (" ".join(part.split()) for part in parts[2::2]), strict=True)))
    of_class, of_job = both
    shared = (of_class.keys() & of_job.keys()) - {"name"}
    assert len(shared) > 25
    assert {name for name in shared if of_class[name] != of_job[name]} == set()


def long_summary() -> None:
    """Does something that it takes
    two lines to say.
    """


def undocumented_parameter(given: int) -> None:
    """Does something."""


def parameter_that_is_gone() -> None:
    """Does something.

    Args:
        gone: What it took once.
    """


def untold_error() -> None:
    """Does something."""
    raise ValueError("told by nobody")


def error_that_is_not() -> None:
    """Does something.

    Raises:
        NoSuchError: Never.
    """


def untold_result(given: int) -> int:
    """Does something.

    Args:
        given: A number.
    """
    return given


def prose() -> None:
    """Does something. Parameters: none. Raises ValueError."""


def without() -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        long_summary,
        undocumented_parameter,
        parameter_that_is_gone,
        untold_error,
        error_that_is_not,
        untold_result,
        prose,
        without,
    ],
)
def test_a_docstring_that_says_less_would_be_seen(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "__module__", "scheduler_core.example")
    assert len(problems(function)) == 1
