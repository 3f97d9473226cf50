"""What a callback takes: which calls fit, what is said of those that don't, and how arguments are handed over."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import types
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core import InvalidArgumentsError, InvalidJobError, ScheduleJob
from scheduler_core.domain.jobs.call_signature import CallSignature
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.engine.callbacks.registry import describe

CTX: Any = object()


def job(callback: Any, *args: Any, **kwargs: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", 60, callback, args=args, kwargs=kwargs)


def definition(callback: Any, *args: Any, **kwargs: Any) -> JobDefinition:
    return job(callback, *args, **kwargs).definition("UTC")


def called(callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the callback is called with: declared, stored, and bound as at each attempt."""
    stored = definition(callback, *args, **kwargs)
    positional, by_name = describe("j", callback).signature.bind(stored, CTX)
    return callback(*positional, **by_name)


# --- which calls fit


def plain(to: str, subject: str = "", *, urgent: bool = False) -> Any:
    return to, subject, urgent


def many(first: Any, *rest: Any, **more: Any) -> Any:
    return first, rest, more


def position_only(a: Any, b: Any = 0, /, **more: Any) -> Any:
    return a, b, more


def strictly_by_position(a: Any, b: Any = 0, /) -> Any:
    return a, b


def nothing() -> None: ...


class Mailer:
    def __init__(self, to: str, subject: str = "") -> None:
        self.to = to

    def __call__(self, number: int) -> Any:
        return self.to, number

    def send(self, number: int) -> Any:
        return self.to, number

    def namespaced(number: int) -> Any:  # type: ignore[misc] # noqa: N805 - no method: a function that lives there
        return number

    @classmethod
    def create(cls, number: int) -> Any:
        return number

    @staticmethod
    def clean(number: int) -> Any:
        return number


class AsyncMailer:
    async def __call__(self, number: int) -> None: ...


FITS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (plain, ("a",), {}),
    (plain, ("a", "b"), {"urgent": True}),
    (plain, (), {"to": "a", "subject": "b"}),
    (many, (1, 2, 3), {"x": 1, "first ": 2}),
    (position_only, (1,), {"a": 2, "b": 3}),
    (strictly_by_position, (1, 2), {}),
    (nothing, (), {}),
    (functools.partial(plain, "a"), ("b",), {}),
    (functools.partial(plain, to="a"), (), {"subject": "b"}),
    (functools.partial(plain, to="a"), (), {"to": "b"}),
    (functools.partial(Mailer.send, Mailer("a")), (1,), {}),
    (Mailer, ("a",), {"subject": "b"}),
    (Mailer("a"), (1,), {}),
    (Mailer("a").send, (), {"number": 1}),
    (Mailer.create, (1,), {}),
    (Mailer.clean, (1,), {}),
    (Mailer.namespaced, (1,), {}),
    (AsyncMailer(), (1,), {}),
    (print, ("a", 1), {"sep": " "}),
    (str.upper, ("a",), {}),
    (lambda x, y=1: None, (1,), {"y": 2}),
]
"""The last two of a builtin: with a signature, and a method that takes its instance, a string, as an argument."""


@pytest.mark.parametrize(("callback", "args", "kwargs"), FITS)
def test_calls_that_fit(callback: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    signature = describe("j", callback).signature
    stored = definition(callback, *args, **kwargs)
    assert signature.doubt(stored) is None
    assert signature.bind(stored, CTX) == (list(args), kwargs)
    signature.check(stored)


REFUSED: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (
        plain,
        (),
        {},
        r"args: .*:plain\(to, subject=..., \*, urgent=...\) needs to: give it in args or kwargs \(given: nothing\)",
    ),
    (plain, (), {"subject": "b"}, r"needs to: give it in args or kwargs \(given: 'subject'\)"),
    (plain, (1, 2, 3), {}, r"args: .*takes at most 2 by position: leave some out \(given: 3 by position\)"),
    (plain, ("a",), {"subjet": 1}, r"kwargs: .*takes no 'subjet' \(did you mean 'subject'\?\)"),
    (plain, ("a",), {"subjet": 1}, r"\(given: 1 by position and 'subjet'\)"),
    (plain, ("a",), {"to": "b"}, "gets 'to' twice, by position and by keyword: give it once"),
    (many, (), {"rest": 1}, r"needs first"),
    (strictly_by_position, (1,), {"b": 1}, "takes 'b' by position only: move it to args"),
    (nothing, (1,), {}, r"nothing\(\) takes at most 0 by position"),
    (nothing, (), {"ctx": 1}, r"takes no 'ctx'"),
    (functools.partial(plain, "a"), ("b", "c"), {}, "takes at most 1 by position"),
    (functools.partial(plain, to="a"), ("b",), {}, "takes at most 0 by position"),
    (Mailer, (), {}, r"Mailer\(to, subject=...\) needs to"),
    (Mailer("a"), (), {}, r"<instance>.Mailer\(number\) needs number"),
    (Mailer("a").send, (1, 2), {}, r"<bound>.Mailer.send\(number\) takes at most 1"),
    (Mailer.send, (1,), {}, r"callback: .*Mailer.send\(self, number\) is a method, and nobody gives it its instance"),
    (Mailer.send, (), {}, "is a method"),
    (functools.partial(Mailer.send), (1,), {}, "is a method"),
    (AsyncMailer(), (), {}, "needs number"),
    (len, (), {}, r"builtins:len\(obj, /\) needs obj"),
    (lambda x: None, (), {"y": 1}, "<lambda>.* takes no 'y'"),
]


@pytest.mark.parametrize(("callback", "args", "kwargs", "message"), REFUSED)
def test_calls_that_do_not_fit_are_refused_when_they_are_declared(
    callback: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    """apscheduler #531: what can't be called was accepted, and failed at each run."""
    with pytest.raises(InvalidJobError, match=message) as caught:
        job(callback, *args, **kwargs)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("The job 'j' can't be accepted: ")
    with pytest.raises(TypeError):
        callback(*args, **kwargs)


def test_it_is_an_error_of_arguments_unless_something_else_is_wrong_too() -> None:
    with pytest.raises(InvalidArgumentsError):
        job(plain)
    with pytest.raises(InvalidArgumentsError):
        job(plain, b"x")
    with pytest.raises(InvalidJobError) as caught:
        ScheduleJob("j", "", "interval", 60, plain)
    assert not isinstance(caught.value, InvalidArgumentsError)


def test_what_is_assigned_or_changed_in_place_is_checked_as_well() -> None:
    made = job(many, 1, x=1)
    with pytest.raises(InvalidArgumentsError, match="needs first"):
        made.args = ()
    assert made.args == (1,)
    made.kwargs["y"] = b"x"
    with pytest.raises(InvalidArgumentsError, match="of type bytes"):
        made.definition("UTC")
    made.kwargs = {"bb": 1, "a": [2]}
    stored = made.definition("UTC")
    made.kwargs["a"].append(3)
    made.kwargs["c"] = 4
    assert list(stored.kwargs.items()) == [("a", [2]), ("bb", 1)]
    empty = job(many, 1)
    stored = empty.definition("UTC")
    empty.kwargs["a"] = 1
    assert stored.kwargs == {}


def test_thousands_of_unknown_keywords_are_told_in_a_line() -> None:
    with pytest.raises(InvalidArgumentsError) as caught:
        job(plain, "a", **{f"subject{number}": 1 for number in range(20_000)})
    assert len(str(caught.value)) < 3_000


NAMES = ["a", "b", "c", "d"]
KINDS = [inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY]


@st.composite
def signatures(draw: st.DrawFn) -> inspect.Signature:
    parameters, optional = [], False
    for name, kind in zip(NAMES, sorted(draw(st.lists(st.sampled_from(KINDS), max_size=4))), strict=False):
        is_keyword = kind is inspect.Parameter.KEYWORD_ONLY
        optional = draw(st.booleans()) or (optional and not is_keyword)
        parameters.append(inspect.Parameter(name, kind, default=0 if optional else inspect.Parameter.empty))
    keywords = [one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    others = [one for one in parameters if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    rest = [inspect.Parameter("rest", inspect.Parameter.VAR_POSITIONAL)] if draw(st.booleans()) else []
    more = [inspect.Parameter("more", inspect.Parameter.VAR_KEYWORD)] if draw(st.booleans()) else []
    return inspect.Signature([*others, *rest, *keywords, *more])


@given(signatures(), st.integers(0, 5), st.lists(st.sampled_from([*NAMES, "rest", "more", "x"]), unique=True))
def test_what_fits_is_what_python_says_that_fits(signature: inspect.Signature, count: int, names: list[str]) -> None:
    """Asked by calling: `inspect.Signature.bind` is wrong about names that are taken by position only."""
    function = function_of(signature)
    problems = CallSignature.of(function).problems(count, names)
    try:
        function(*range(count), **dict.fromkeys(names))
    except TypeError:
        assert problems
    else:
        assert not problems


def function_of(signature: inspect.Signature) -> Callable[..., Any]:
    made: dict[str, Any] = {}
    exec(f"def function{signature}: return locals()", made)
    function: Callable[..., Any] = made["function"]
    return function


# --- ctx


def context_first(ctx: Any, a: Any, b: Any = 0) -> Any:
    return ctx, a, b


def context_last(a: Any, b: Any = 0, ctx: Any = None) -> Any:
    return ctx, a, b


def context_between(a: Any, ctx: Any, b: Any = 0) -> Any:
    return ctx, a, b


def context_by_name(a: Any, b: Any = 0, *, ctx: Any) -> Any:
    return ctx, a, b


def context_by_position(a: Any, ctx: Any, b: Any = 0, /) -> Any:
    return ctx, a, b


def context_before_many(a: Any, ctx: Any, *b: Any) -> Any:
    return ctx, a, b[0] if b else 0


def context_after_many(a: Any, *b: Any, ctx: Any) -> Any:
    return ctx, a, b[0] if b else 0


async def context_async(ctx: Any, a: Any, b: Any = 0) -> Any:
    return ctx, a, b


class WithContext:
    def __call__(self, ctx: Any, a: Any, b: Any = 0) -> Any:
        return ctx, a, b

    def method(self, ctx: Any, a: Any, b: Any = 0) -> Any:
        return ctx, a, b


WITH_CONTEXT = [
    context_first, context_last, context_between, context_by_name, context_by_position, context_before_many,
    context_after_many, WithContext(), WithContext().method, functools.partial(context_first),
]  # fmt: skip


@pytest.mark.parametrize("callback", WITH_CONTEXT)
@pytest.mark.parametrize(("args", "seen"), [((1,), (CTX, 1, 0)), ((1, 2), (CTX, 1, 2))])
def test_the_context_goes_where_it_stands_and_arguments_to_the_others(
    callback: Callable[..., Any], args: tuple[Any, ...], seen: tuple[Any, ...]
) -> None:
    assert describe("j", callback).wants_context
    assert called(callback, *args) == seen


@pytest.mark.parametrize("callback", [one for one in WITH_CONTEXT if one is not context_by_position])
def test_beside_the_context_arguments_may_be_given_by_keyword(callback: Callable[..., Any]) -> None:
    assert called(callback, a=1)[:2] == (CTX, 1)
    if callback not in (context_before_many, context_after_many):
        assert called(callback, b=2, a=1) == (CTX, 1, 2)


@pytest.mark.parametrize("callback", WITH_CONTEXT)
def test_nobody_else_gives_the_context(callback: Callable[..., Any]) -> None:
    with pytest.raises(InvalidArgumentsError, match="gets 'ctx' from the scheduler: remove it"):
        job(callback, 1, ctx=2)
    with pytest.raises(InvalidArgumentsError, match="needs a"):
        job(callback)
    if callback not in (context_before_many, context_after_many):
        with pytest.raises(InvalidArgumentsError, match="takes at most 2 by position"):
            job(callback, 1, 2, 3)


def test_a_context_is_a_parameter_of_that_name() -> None:
    def many_contexts(*ctx: Any) -> Any:
        return ctx

    def named_contexts(**ctx: Any) -> Any:
        return ctx

    assert called(many_contexts, 1) == (1,)
    assert called(named_contexts, a=1) == {"a": 1}
    assert called(named_contexts, ctx=1) == {"ctx": 1}
    assert called(many, 1, ctx=2) == (1, (), {"ctx": 2})
    assert not describe("j", many_contexts).wants_context


def test_a_context_by_position_needs_what_stands_before_it() -> None:
    def odd(a: Any = 0, ctx: Any = None, /) -> Any:
        return a, ctx

    def strict(a: Any, ctx: Any, /) -> Any:
        return a, ctx

    assert called(odd, 1) == (1, CTX)
    assert called(odd) == (0, None)
    with pytest.raises(InvalidArgumentsError, match="needs a"):
        job(strict)


# --- decorators


def hands_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def adds_first(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("session", *args, **kwargs)

    return wrapper


def adds_by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, session="session", **kwargs)

    return wrapper


def names_more(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(prefix: str, *args: Any, **kwargs: Any) -> Any:
        return prefix, function(*args, **kwargs)

    return wrapper


def takes_other(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(prefix: str, x: int) -> Any:
        return prefix, function(x)

    return wrapper


def takes_the_first(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        return function(ctx, *args, **kwargs)

    return wrapper


def by_name_alone(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(**kwargs: Any) -> Any:
        return function(**kwargs)

    return wrapper


def with_session(session: str, a: int, ctx: Any = None) -> Any:
    return session, a, ctx


def by_name_last(a: int, *, session: str) -> Any:
    return a, session


def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize("wrap", [hands_on, functools.lru_cache, lambda f: hands_on(hands_on(f)), functools.partial])
def test_a_wrapper_that_hands_on_takes_what_it_wraps_takes(wrap: Callable[..., Any]) -> None:
    assert called(wrap(plain), "a", urgent=True) == ("a", "", True)
    with pytest.raises(InvalidArgumentsError, match=r"takes no 'subjet' \(did you mean 'subject'\?\)"):
        job(wrap(plain), "a", subjet=1)
    with pytest.raises(InvalidArgumentsError, match="takes at most 2 by position"):
        job(wrap(plain), 1, 2, 3)
    with pytest.raises(InvalidArgumentsError, match="twice"):
        job(wrap(plain), 1, to=2)
    assert called(wrap(context_first), 1, 2) == (CTX, 1, 2)
    assert called(wrap(context_between), 1, 2) == (CTX, 1, 2)
    assert called(wrap(context_by_name), 1) == (CTX, 1, 0)


def test_a_wrapper_may_add_what_is_missing() -> None:
    """celery #10281, apscheduler #363: wrappers that bring arguments along were refused."""
    assert called(adds_first(with_session), a=1) == ("session", 1, CTX)
    assert called(adds_by_name(by_name_last), 1) == (1, "session")
    doubt = describe("j", adds_by_name(by_name_last)).signature.doubt
    assert "needs session" in (doubt(definition(adds_by_name(by_name_last), 1)) or "")
    assert "every run fails, unless what wraps the function adds it" in (doubt(definition(hands_on(many))) or "")
    assert doubt(definition(adds_by_name(by_name_last), 1, session=2)) is None


def test_a_wrapper_with_parameters_of_its_own_says_itself_what_it_takes() -> None:
    assert called(takes_other(double), "n", 2) == ("n", 4)
    assert called(takes_other(double), prefix="n", x=2) == ("n", 4)
    with pytest.raises(InvalidArgumentsError, match=r"double\(prefix, x\) needs prefix"):
        job(takes_other(double), x=2)
    assert called(names_more(double), "n", 2) == ("n", 4)
    with pytest.raises(InvalidArgumentsError, match="needs prefix"):
        job(names_more(double))
    assert called(takes_the_first(context_first), 1, b=2) == (CTX, 1, 2)
    assert called(by_name_alone(context_first), a=1) == (CTX, 1, 0)
    with pytest.raises(InvalidArgumentsError, match="takes at most 0 by position"):
        job(by_name_alone(plain), "a")


def test_a_signature_that_was_set_is_the_signature() -> None:
    wrapped = adds_first(with_session)
    parameters = [one for name, one in inspect.signature(with_session).parameters.items() if name != "session"]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    assert called(wrapped, 1) == ("session", 1, CTX)
    with pytest.raises(InvalidArgumentsError, match="needs a"):
        job(wrapped)


class Unreadable:
    @property
    def __signature__(self) -> Any:
        raise RuntimeError("no")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


@pytest.mark.parametrize("callback", [dict, min, Unreadable(), types.SimpleNamespace])
def test_where_no_signature_can_be_read_arguments_are_handed_over_as_they_are(callback: Callable[..., Any]) -> None:
    signature = describe("j", callback).signature
    assert not signature.takes_context
    stored = definition(callback, [1], a=[2])
    assert signature.bind(stored, CTX) == ([[1]], {"a": [2]})
    with pytest.raises(InvalidArgumentsError, match="of type bytes"):
        job(callback, b"x")


# --- generators


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Generators:
    def __call__(self) -> Iterator[int]:
        yield 1

    def method(self) -> Iterator[int]:
        yield 1


class AsyncGenerators:
    async def __call__(self) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize(
    "callback",
    [
        generator, async_generator, functools.partial(generator), Generators(), Generators().method,
        functools.partial(Generators()), AsyncGenerators(), functools.partial(async_generator),
    ],
)  # fmt: skip
def test_a_generator_function_is_refused(callback: Callable[..., Any]) -> None:
    with pytest.raises(InvalidJobError, match=r"callback: .* is a generator function, and a call runs nothing of it"):
        job(callback)


@types.coroutine
def old_coroutine() -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    "callback",
    [old_coroutine, contextlib.contextmanager(generator), hands_on(generator), Generators, AsyncMailer().__call__],
)
def test_what_only_looks_like_one_is_not(callback: Callable[..., Any]) -> None:
    args = [1] if isinstance(callback, types.MethodType) else []
    assert job(callback, *args).callback is callback


@pytest.mark.parametrize(
    ("callback", "is_async"),
    [
        (context_async, True), (functools.partial(context_async), True), (AsyncMailer(), True), (Mailer("a"), False),
        (functools.partial(AsyncMailer()), True), (AsyncMailer().__call__, True), (plain, False), (AsyncMailer, False),
    ],
)  # fmt: skip
def test_what_is_a_coroutine_function(callback: Callable[..., Any], is_async: bool) -> None:
    assert describe("j", callback).is_async is is_async


# --- what is handed over


def test_no_call_sees_what_another_has_made_of_its_arguments() -> None:
    seen = []

    def greedy(listed: list[int], named: dict[str, Any]) -> None:
        seen.append((list(listed), dict(named)))
        listed.append(9)
        named["new"] = 9

    stored = definition(greedy, [1], named={"a": 1})
    signature = describe("j", greedy).signature
    for _ in range(2):
        positional, by_name = signature.bind(stored, None)
        greedy(*positional, **by_name)
    assert seen == [([1], {"a": 1})] * 2
    assert stored.args == ([1],)


def test_keywords_come_in_the_order_of_the_database() -> None:
    assert list(called(many, 1, zz=1, b=2, é=3, a={"dd": 1, "c": 2})[2].items()) == [
        ("a", {"c": 2, "dd": 1}), ("b", 2), ("zz", 1), ("é", 3),
    ]  # fmt: skip


def test_a_signature_is_read_once_and_keeps_no_function_alive() -> None:
    def function(a: int) -> None: ...

    signature = CallSignature.of(function)
    assert CallSignature.of(function) is signature
    signature.problems(1, ())
    gone = weakref.ref(function)
    del function
    gc.collect()
    assert gone() is None
