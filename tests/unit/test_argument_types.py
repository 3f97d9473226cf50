"""Arguments of types that JSON doesn't have: what is stored of them, what is read back, what is refused."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_values import exactly, json_values
from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, SecretStr
from typing_extensions import TypeAliasType, TypedDict

from scheduler_core import InvalidArgumentsError, ScheduleJob
from scheduler_core.domain.jobs.argument_types import is_of_json
from scheduler_core.domain.jobs.json_value import as_jsonb
from scheduler_core.engine.callbacks.registry import describe

if TYPE_CHECKING:
    from decimal import Context as OnlyForTypes

DAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ID = UUID("12345678-1234-5678-1234-567812345678")


class Colour(Enum):
    RED = "red"
    NUMBER = 7


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    YES = "yes"


@dataclass
class Item:
    sku: str
    price: Decimal
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Tree:
    day: date
    below: tuple[Tree, ...] = ()


class Point(NamedTuple):
    x: int
    when: date


class Options(TypedDict):
    since: date
    limit: typing.NotRequired[int]


class PlainOptions(TypedDict):
    names: list[str]


class Order(BaseModel):
    order_id: UUID
    items: list[Item]
    placed_at: datetime = Field(alias="placedAt")
    model_config = ConfigDict(validate_by_name=True)


class Written(BaseModel):
    """Writes its number as a text, which only a lax reading takes back."""

    number: Annotated[int, PlainSerializer(str)]


class Base(BaseModel):
    a: int


class Derived(Base):
    b: int


Text = NewType("Text", str)
Day = NewType("Day", date)
T = TypeVar("T")
Json = TypeAliasType("Json", dict[str, "Json"] | list["Json"] | str | int | None)  # type: ignore[misc]
Days = TypeAliasType("Days", list[date])


def job(callback: Any, *args: Any, **kwargs: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", 60, callback, args=args, kwargs=kwargs)


def taking(annotation: Any, default: Any = ...) -> Callable[..., Any]:
    """A callback with one parameter of this type."""

    def callback(given: Any) -> Any:
        return given

    if default is not ...:
        callback.__defaults__ = (default,)
    callback.__annotations__ = {"given": annotation}
    return callback


def handed_over(annotation: Any, value: Any) -> tuple[Any, Any]:
    """What is stored of a value, and what the callback gets."""
    callback = taking(annotation)
    stored = job(callback, value).definition("UTC")
    by_keyword = job(callback, given=value).definition("UTC")
    assert exactly(list(by_keyword.kwargs.values())) == exactly(list(stored.args))
    (got,), _ = describe("j", callback).signature.bind(stored, None)
    return stored.args[0], got


ROUND_TRIPS: list[tuple[Any, Any, Any]] = [
    (datetime, NOON, "2026-11-23T12:00:00Z"),
    (datetime, datetime(2026, 11, 23, 12), "2026-11-23T12:00:00"),  # noqa: DTZ001 - naive ones stay naive
    (datetime, NOON.astimezone(BERLIN), "2026-11-23T13:00:00+01:00"),
    (datetime, datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), "2026-10-25T02:30:00+01:00"),
    (date, DAY, "2026-11-23"),
    (time, time(14, 30, 0, 5), "14:30:00.000005"),
    (timedelta, timedelta(days=-1, microseconds=1), "-PT23H59M59.999999S"),
    (Decimal, Decimal("1.10"), "1.10"),
    (Decimal, Decimal("1E+30"), "1E+30"),
    (UUID, ID, str(ID)),
    (Colour, Colour.RED, "red"),
    (Colour, Colour.NUMBER, 7),
    (Level, Level.LOW, 1),
    (Word, Word.YES, "yes"),
    (Literal[Word.YES], Word.YES, "yes"),
    (Path, Path("/srv/x"), "/srv/x"),
    (bytes, b"\x00\xff", "AP8="),
    (set[int], {1}, [1]),
    (frozenset[date], frozenset({DAY}), ["2026-11-23"]),
    (tuple[int, date], (1, DAY), [1, "2026-11-23"]),
    (tuple[int, ...], (1, 2), [1, 2]),
    (tuple, (1, "a"), [1, "a"]),
    (Item, Item("a", Decimal("1.5"), {"x"}), {"sku": "a", "tags": ["x"], "price": "1.5"}),
    (list[Item], [Item("a", Decimal(1))], [{"sku": "a", "tags": [], "price": "1"}]),
    (Tree, Tree(DAY, (Tree(DAY),)), {"day": "2026-11-23", "below": [{"day": "2026-11-23", "below": []}]}),
    (Point, Point(1, DAY), [1, "2026-11-23"]),
    (Options, {"since": DAY}, {"since": "2026-11-23"}),
    (
        Order,
        Order(order_id=ID, items=[Item("a", Decimal(2))], placed_at=NOON),
        {
            "items": [{"sku": "a", "tags": [], "price": "2"}],
            "order_id": str(ID),
            "placed_at": "2026-11-23T12:00:00Z",
        },
    ),
    (Written, Written(number=5), {"number": "5"}),
    (dict[str, Decimal], {"b": Decimal(1), "a": Decimal(2)}, {"a": "2", "b": "1"}),
    (dict[int, date], {10: DAY, 9: DAY}, {"9": "2026-11-23", "10": "2026-11-23"}),
    (dict[UUID, int], {ID: 1}, {str(ID): 1}),
    (date | None, None, None),
    (date | None, DAY, "2026-11-23"),
    (int | date, DAY, "2026-11-23"),
    (int | date, 5, 5),
    (str | date, "2026-11-23", "2026-11-23"),
    (int | Decimal, Decimal(1), "1"),
    (Sequence[date], [DAY], ["2026-11-23"]),
    (Mapping[str, date], {"a": DAY}, {"a": "2026-11-23"}),
    (Annotated[Decimal, Field(gt=0)], Decimal(1), "1"),
    (Day, DAY, "2026-11-23"),
    (Days, [DAY], ["2026-11-23"]),
    (list[Colour | None], [Colour.RED, None], ["red", None]),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "stored"), ROUND_TRIPS)
def test_what_was_given_comes_back(annotation: Any, value: Any, stored: Any) -> None:
    kept, got = handed_over(annotation, value)
    assert exactly(kept) == exactly(stored)
    if isinstance(value, datetime) and value.tzinfo:
        assert (got.timestamp(), got.utcoffset()) == (value.timestamp(), value.utcoffset())
    else:
        assert got == value
    assert type(got) is type(value)
    # What is stored may be given as well: so the API, a file and a command line say it.
    assert exactly(handed_over(annotation, kept)) == exactly((kept, got))


@given(
    st.datetimes(timezones=st.none() | st.sampled_from([UTC, BERLIN, timezone(timedelta(hours=5, minutes=45))]))
    | st.dates() | st.times() | st.timedeltas() | st.decimals(allow_nan=False, allow_infinity=False) | st.uuids()
    | st.binary() | st.sampled_from(Colour)
)  # fmt: skip
def test_any_value_of_a_type_comes_back(value: Any) -> None:
    try:
        _, got = handed_over(type(value), value)
    except InvalidArgumentsError:
        # ISO 8601 has offsets of whole minutes; those of some zones had seconds, long ago.
        assert isinstance(value, datetime)
        assert value.tzinfo is BERLIN
        assert value.year < 1900
        return
    assert got == value or (isinstance(value, datetime) and got.timestamp() == value.timestamp())


PLAIN: list[Any] = [
    int, float, str, bool, None, list, dict, Any, object, list[int], dict[str, Any], int | None, str | float,
    Literal["a", 1], Sequence[str], Mapping[str, int], Iterable[Any], typing.List, typing.Dict[str, int], PlainOptions,  # noqa: UP006
    Annotated[int, Field(gt=5)], Text, T, JsonValue, Json, list[PlainOptions],
]  # fmt: skip

VALUES = [
    3, "3", 2.0, True, None, [1, "2"], {"a": [1]}, "2026-01-01", 10**30, [], {"b": {"bb": 1, "a": 2}},
]  # fmt: skip


@pytest.mark.parametrize("annotation", PLAIN)
def test_an_annotation_that_json_can_say_changes_nothing(annotation: Any) -> None:
    """An int where `float` is annotated stays one; a str where `int` is, too. Wrong by the annotation, and as given."""
    assert is_of_json(annotation)
    for value in VALUES:
        assert exactly(handed_over(annotation, value)) == exactly((as_jsonb(value),) * 2)


@given(json_values())
def test_without_an_annotation_json_is_handed_over_as_jsonb_has_it(value: Any) -> None:
    def callback(value):  # type: ignore[no-untyped-def]
        return value

    stored = job(callback, value).definition("UTC")
    (got,), _ = describe("j", callback).signature.bind(stored, None)
    assert exactly(got) == exactly(stored.args[0]) == exactly(as_jsonb(value))


REFUSED: list[tuple[Any, Any, str]] = [
    (None, NOON, r"value\['given'\] is datetime.datetime\(.*\), of type datetime, give JSON values"),
    (int, NOON, "or annotate the parameter given: datetime"),
    (list, [NOON], r"value\['given'\]\[0\] is .* or annotate the parameter given with what it holds"),
    (dict[str, Any], {"a": {"b": b"x"}}, r"value\['given'\]\['a'\]\['b'\] is b'x', of type bytes"),
    (date, "tomorrow", "is 'tomorrow', which can't be read as datetime.date: Input should be a valid date"),
    (date, 5, "is 5, which can't be read as datetime.date"),
    (date, NOON, "of type datetime, which can't be stored as datetime.date: it is or holds something else"),
    (timedelta, 30, "is 30, which can't be read as datetime.timedelta: Input should be a valid duration"),
    (tuple[int, date], ["5", "2026-01-01"], r"\[0\] Input should be a valid integer"),
    (set[int], [1, "2"], "Input should be a valid integer"),
    (Item, {"sku": "a"}, r"\['price'\] Field required"),
    (Item, {"sku": 5, "price": 1}, r"\['sku'\] Input should be a valid string"),
    (Order, {"order_id": "x"}, r"\['order_id'\] Input should be a valid UUID"),
    (str | date, DAY, "it comes back as '2026-11-23', of type str"),
    (str | Word, Word.YES, None),
    (int | Level, Level.LOW, None),
    (SecretStr, SecretStr("x"), "it comes back as SecretStr"),
    (Base, Derived(a=1, b=2), "can't be stored as .*Base: it comes back as Base"),
    (Sequence[date], (DAY,), "of type list"),
    (Decimal, Decimal("NaN"), "can't be stored as decimal.Decimal"),
    (Literal["a", Colour.RED], 5, "Input should be"),
    (Annotated[Decimal, Field(gt=0)], Decimal(-1), "greater than 0"),
    (Callable[[], None], print, "its annotation can't be used|an annotation that can be used: a callable"),
    (range, range(3), "an annotation that can be used: PydanticSchemaGenerationError"),
    ("Undefined", NOON, "an annotation that can be used: NameError: name 'Undefined' is not defined"),
    (list[date], [date(1, 1, 1)] * 40_000, "takes 560000 bytes"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), [one for one in REFUSED if one[2] is not None])
def test_what_does_not_come_back_is_refused(annotation: Any, value: Any, message: str) -> None:
    callback = taking(annotation)
    if annotation is None:
        del callback.__annotations__["given"]
    with pytest.raises(InvalidArgumentsError) as caught:
        job(callback, given=value)
    text = str(caught.value)
    assert re.search(message, text), text
    assert "\n" not in text
    assert "kwargs: " in text


@pytest.mark.parametrize(("annotation", "value"), [(str | Word, Word.YES), (int | Level, Level.LOW)])
def test_a_member_of_an_enum_that_is_json_stays_what_it_was(annotation: Any, value: Any) -> None:
    """Where an annotation leaves a choice, it arrives as the plain value, as without one."""
    stored, got = handed_over(annotation, value)
    assert exactly(stored) == exactly(got) == exactly(value.value)


def test_a_name_in_place_of_the_function_takes_json_alone() -> None:
    with pytest.raises(InvalidArgumentsError, match="give the callback as a function: its annotations say how"):
        job("app:work", NOON)
    assert job("app:work", "2026-11-23").args == ("2026-11-23",)


# --- where annotations come from


def forward(order: Later, when: date) -> Any:
    return order, when


def unresolvable(context: OnlyForTypes, when: date) -> Any:
    return context, when


def optional(when: date = None, *, others: date = None) -> Any:  # type: ignore[assignment] # noqa: RUF013
    return when, others


def several(*when: date, **amounts: Decimal) -> Any:
    return when, amounts


class Handler:
    def __init__(self, since: date) -> None:
        self.since = since

    def __call__(self, when: date) -> Any:
        return when

    def method(self, when: date) -> Any:
        return when

    @classmethod
    def of_class(cls, when: date) -> Any:
        return when

    @staticmethod
    def static(when: date) -> Any:
        return when


def hands_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def adds_first(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(0, *args, **kwargs)

    return wrapper


def second(session: Any, when: date) -> Any:
    return when


def plain(when: date) -> Any:
    return when


def got_by(callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    stored = job(callback, *args, **kwargs).definition("UTC")
    positional, by_name = describe("j", callback).signature.bind(stored, None)
    return callback(*positional, **by_name)


@pytest.mark.parametrize(
    "callback",
    [
        plain, Handler(DAY), Handler(DAY).method, Handler.of_class, Handler.static, functools.partial(plain),
        functools.partial(second, 0), hands_on(plain), hands_on(hands_on(plain)), hands_on(Handler(DAY).method),
        functools.lru_cache(plain), functools.partial(hands_on(plain)),
    ],
)  # fmt: skip
def test_annotations_are_found_behind_whatever_is_called(callback: Callable[..., Any]) -> None:
    assert got_by(callback, DAY) == DAY
    assert got_by(callback, when=DAY) == DAY
    assert got_by(callback, "2026-11-23") == DAY


def test_a_class_is_called_with_what_its_init_takes() -> None:
    assert got_by(Handler, DAY).since == DAY


def test_where_a_wrapper_adds_arguments_only_keywords_are_known() -> None:
    assert got_by(adds_first(second), when=DAY) == DAY
    with pytest.raises(InvalidArgumentsError, match="of type date, give JSON"):
        job(adds_first(second), DAY)
    assert got_by(adds_first(second), "2026-11-23") == "2026-11-23"


def test_every_one_of_many_arguments_has_the_type() -> None:
    assert got_by(several, DAY, DAY, a=Decimal(1), b=Decimal(2)) == ((DAY, DAY), {"a": Decimal(1), "b": Decimal(2)})
    with pytest.raises(InvalidArgumentsError, match="annotate the parameter \\*rest: date"):
        job(lambda *rest: None, DAY)
    with pytest.raises(InvalidArgumentsError, match="annotate the parameter \\*\\*more: date"):
        job(lambda **more: None, x=DAY)


def test_a_parameter_whose_default_is_none_takes_none() -> None:
    assert got_by(optional, None, others=None) == (None, None)
    assert got_by(optional, DAY) == (DAY, None)
    assert got_by(taking(date, None), None) is None
    with pytest.raises(InvalidArgumentsError, match=r"is None, which can't be read as datetime.date"):
        job(taking(date), None)


def test_an_annotation_that_can_not_be_resolved_is_none() -> None:
    assert got_by(unresolvable, {"any": ["json"]}, DAY) == ({"any": ["json"]}, DAY)
    assert got_by(taking("Undefined"), [1]) == [1]
    assert got_by(taking(range), [1]) == [1]
    assert got_by(taking(Callable[..., Any]), "app:function") == "app:function"


def test_a_class_that_is_defined_below_the_job_is_known_when_it_is_called() -> None:
    """`@job` stands above the class: what is declared there must be what other processes make of it."""
    module: dict[str, Any] = {"__name__": __name__}
    exec("from __future__ import annotations\ndef callback(order: Below): return order", module)
    declared = job(module["callback"], {"day": "2026-11-23", "below": []})
    signature = describe("j", module["callback"]).signature
    module["Below"] = Tree
    assert signature.bind(declared.definition("UTC"), None) == ([Tree(DAY)], {})


class Later(BaseModel):
    day: date


def test_annotations_may_name_what_comes_later_in_the_module() -> None:
    assert got_by(forward, Later(day=DAY), DAY) == (Later(day=DAY), DAY)


# --- at the call


def test_what_is_no_longer_what_the_annotation_says_is_a_clear_error() -> None:
    stored = job(plain, "2026-11-23").definition("UTC")
    signature = describe("j", plain).signature
    for args, kwargs, where in (
        (("soon",), {}, r"args: value\[0\]"),
        ((), {"when": "soon"}, r"kwargs: value\['when'\]"),
    ):
        edited = replace(stored, args=args, kwargs=kwargs)
        with pytest.raises(
            InvalidArgumentsError, match=where + " is 'soon', which .*plain.when. can't read as"
        ) as caught:
            signature.bind(edited, None)
        assert "the job 'j' can't be called" in str(caught.value)
        with pytest.raises(InvalidArgumentsError, match="can't be accepted"):
            signature.check(edited)
    signature.check(stored)


class Rude(BaseModel):
    """Brings code of its own."""

    number: int

    def model_post_init(self, _context: Any) -> None:
        if self.number > 1:
            raise RuntimeError("no more")


def test_a_type_whose_own_code_fails_is_told() -> None:
    assert got_by(taking(Rude), {"number": 1}) == Rude(number=1)
    with pytest.raises(InvalidArgumentsError, match="RuntimeError: no more"):
        job(taking(Rude), {"number": 2})
    stored = replace(job(taking(Rude), {"number": 1}).definition("UTC"), args=({"number": 2},))
    with pytest.raises(InvalidArgumentsError, match="RuntimeError: no more"):
        describe("j", taking(Rude)).signature.bind(stored, None)


def test_each_call_gets_values_of_its_own() -> None:
    callback = taking(Item)
    stored = job(callback, Item("a", Decimal(1))).definition("UTC")
    signature = describe("j", callback).signature
    (first,), _ = signature.bind(stored, None)
    first.tags.add("x")
    assert signature.bind(stored, None)[0] == [Item("a", Decimal(1))]


def test_a_job_may_be_dumped_and_read_again() -> None:
    made = job(plain, DAY)
    assert made.args == ("2026-11-23",)
    assert ScheduleJob.model_validate(made.model_dump()) == made
