"""What each SQLSTATE means, and that whoever asks is told the same."""

from __future__ import annotations

import asyncpg
import pytest

from scheduler_core import SchedulerError, ServerUnreachableError
from scheduler_core.domain.errors import RefusedForNowError, SchemaError, UnstorableError
from scheduler_core.storage.postgres.errors import MissingPartitionError, explain
from scheduler_core.storage.postgres.sqlstates import Condition, condition_of, condition_of_error
from scheduler_core.storage.postgres.url import parse_url

URL = parse_url("postgresql://somebody:hidden@db.example:5432/jobs")

KINDS = {
    Condition.UNREACHABLE: ServerUnreachableError,
    Condition.UNFIT_SESSION: RefusedForNowError,
    Condition.NOT_NOW: RefusedForNowError,
    Condition.UNSTORABLE: UnstorableError,
    Condition.UNFIT_SCHEMA: SchemaError,
    Condition.FORBIDDEN: SchemaError,
    Condition.LOGIN_REFUSED: ServerUnreachableError,
    Condition.NO_DATABASE: ServerUnreachableError,
    Condition.REFUSED: SchedulerError,
}


def every_error() -> dict[str, asyncpg.PostgresError]:
    """An error of each SQLSTATE that the driver has a class for: all that the server's manual lists."""
    found: dict[str, asyncpg.PostgresError] = {}
    waiting = [asyncpg.PostgresError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.sqlstate:
            found[kind.sqlstate] = kind("it says why")
    return found


ERRORS = every_error()


def test_the_driver_knows_the_whole_list() -> None:
    assert len(ERRORS) > 220


@pytest.mark.parametrize(
    ("codes", "condition"),
    [
        (("25006", "26000", "42P05", "25P02", "0A000"), Condition.UNFIT_SESSION),
        (("08000", "08003", "08006", "57P01", "57P02", "57P03", "57P05", "53300", "25P03"), Condition.UNREACHABLE),
        (("40001", "40P01", "53000", "53100", "53200", "55P03", "55000", "57014", "58030", "XX000"), Condition.NOT_NOW),
        (("21000", "22001", "22021", "22P05", "23502", "23505", "23514", "54000"), Condition.UNSTORABLE),
        (("42P01", "42703", "42883", "3F000"), Condition.UNFIT_SCHEMA),
        (("42501",), Condition.FORBIDDEN),
        (("28000", "28P01"), Condition.LOGIN_REFUSED),
        (("3D000", "57P04"), Condition.NO_DATABASE),
        (("P0001", "38000", "09000", "99999"), Condition.REFUSED),
    ],
    ids=lambda value: value.name if isinstance(value, Condition) else "",
)
def test_what_a_code_means(codes: tuple[str, ...], condition: Condition) -> None:
    assert {code: condition_of(code) for code in codes} == dict.fromkeys(codes, condition)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_each_code_is_the_error_that_its_meaning_asks_for(code: str) -> None:
    told = explain(ERRORS[code], URL, "scheduler")
    assert type(told) is KINDS[condition_of_error(ERRORS[code])], told
    assert "hidden" not in str(told)
    # What may be given up is only what the data itself is to blame for.
    assert isinstance(told, UnstorableError) == (code[:2] in {"21", "22", "23", "44", "54"})


def test_a_missing_partition_is_none_of_the_data() -> None:
    error = asyncpg.CheckViolationError('no partition of relation "runs" found for row')
    assert type(explain(error, URL, "scheduler")) is MissingPartitionError


@pytest.mark.parametrize(
    "error", [OSError("gone"), TimeoutError(), asyncpg.InterfaceError("closed"), asyncpg.InternalClientError("odd")]
)
def test_without_a_code_there_is_no_server(error: Exception) -> None:
    assert type(explain(error, URL, "scheduler")) is ServerUnreachableError


def test_a_chain_is_followed_to_its_code() -> None:
    around = RuntimeError("around it")
    around.__cause__ = ERRORS["40001"]
    assert condition_of_error(around) is Condition.NOT_NOW
