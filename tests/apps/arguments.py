"""Jobs whose callback writes down what it was called with, declared here for every executor."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from json_values import exactly
from replicas import witness

from scheduler_core import RunContext, job

ARGS: tuple[Any, ...] = (datetime(2026, 11, 23, 12, tzinfo=UTC), 1e16, -0.0, (1, ("two",)), 10**29 + 1)
KWARGS: dict[str, Any] = {"zz": {"bb": 1, "a": [1.0]}, "price": Decimal("1.10"), "é": None, "b": True, "a" * 9: 5e-324}

ARGS_AS_JSON = '["2026-11-23T12:00:00Z", 1e16, -0.0, [1, ["two"]], 100000000000000000000000000001]'
KWARGS_AS_JSON = '{"zz": {"bb": 1, "a": [1.0]}, "price": "1.10", "é": null, "b": true, "aaaaaaaaa": 5e-324}'
"""The same as one types it."""


def called_with(when: datetime, *rest: Any, price: Decimal, **more: Any) -> str:
    """What a call was given, to the last detail; and changed afterwards, for who comes next."""
    text = f"{when!r} {exactly(rest)} {price!r} {exactly(more)}"
    rest[2].append("changed")
    more["zz"]["changed"] = 1
    return text


def record(ctx: RunContext, when: datetime, *rest: Any, price: Decimal, **more: Any) -> None:
    """Writes it down."""
    witness(f"{ctx.job_id} {called_with(when, *rest, price=price, **more)}")


for executor in ("local", "process", "dask"):
    job(executor, once=None, executor=executor, args=ARGS, kwargs=KWARGS)(record)


def generate() -> Iterator[int]:
    """Would do nothing."""
    yield 1


@job("strict", every=3600, kwargs={"to": "a"})
def strict(to: str, since: datetime | None = None, *, limit: int = 10) -> None:
    """Takes just that."""
