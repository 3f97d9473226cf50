"""Which names may be imported, and that no row of the database can name just anything."""

from __future__ import annotations

import pytest

from scheduler_core import ScheduleJob
from scheduler_core.domain.errors import CallbackNotAllowedError, CallbackNotFoundError
from scheduler_core.domain.job import JobDefinition
from scheduler_core.engine.registry import Registry


def work() -> None: ...


async def work_async(ctx: object) -> None: ...


def definition(callback: object, job_id: str = "j") -> JobDefinition:
    return ScheduleJob(job_id, "J", "interval", 60, callback).definition("UTC")


def test_a_registered_function_is_found_by_its_name() -> None:
    registry = Registry()
    registry.register(work)
    assert registry.find(definition(f"{__name__}:work")).function is work


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "shutil:rmtree"])
def test_a_row_can_not_name_any_function_it_likes(name: str) -> None:
    with pytest.raises(CallbackNotAllowedError, match="allowed_callbacks"):
        Registry().find(definition(name))


@pytest.mark.parametrize("pattern", [__name__, f"{__name__}:work", "*registry"])
def test_allowed_callbacks_may_be_imported(pattern: str) -> None:
    registry = Registry([pattern])
    assert registry.find(definition(f"{__name__}:work")).reference == f"{__name__}:work"


def test_a_lambda_is_called_only_where_it_was_added() -> None:
    here, elsewhere = Registry(), Registry()
    callback = lambda: None  # noqa: E731
    here.bind("j", callback)
    assert here.find(definition(callback)).function is callback
    with pytest.raises(CallbackNotFoundError, match="top level"):
        elsewhere.find(definition(callback))
    with pytest.raises(CallbackNotFoundError):
        here.find(definition(callback, job_id="another"))


def test_a_missing_function_is_named() -> None:
    with pytest.raises(CallbackNotFoundError, match="nothing_here"):
        Registry([__name__]).find(definition(f"{__name__}:nothing_here"))


def test_coroutines_and_contexts_are_recognized_once() -> None:
    registry = Registry()
    registry.register(work_async)
    found = registry.find(definition(f"{__name__}:work_async"))
    assert found.is_async
    assert found.wants_context
