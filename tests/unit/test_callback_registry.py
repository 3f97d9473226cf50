"""Which names may be called, for whose jobs, and that no row of the database can name just anything."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from scheduler_core import InvalidJobError, ScheduleJob, callback, register_callbacks
from scheduler_core.domain.errors import CallbackNotAllowedError, CallbackNotFoundError
from scheduler_core.domain.jobs.abilities import as_like
from scheduler_core.domain.jobs.callback import matches
from scheduler_core.domain.planning.plan import StoredJob
from scheduler_core.engine.callbacks import registry as callback_registry
from scheduler_core.engine.callbacks.own_modules import OwnModules
from scheduler_core.engine.callbacks.own_modules import _declaring as declaring
from scheduler_core.engine.callbacks.registry import CallbackRegistry, mark_callback

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
HERE, THERE = "this program", "another program"


def work() -> None: ...


async def work_async(ctx: object) -> None: ...


def stored(callback: object, job_id: str = "j", application: str | None = None) -> StoredJob:
    definition = ScheduleJob(job_id, "J", "interval", 60, callback).definition("UTC")
    return StoredJob(definition, 1, EPOCH, definition.schedule(EPOCH), EPOCH, application=application)


def test_a_registered_function_is_found_by_its_name() -> None:
    registry = CallbackRegistry(HERE)
    registry.register(work)
    assert registry.find(stored(f"{__name__}:work")).function is work


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "shutil:rmtree"])
@pytest.mark.parametrize("application", [None, HERE])
def test_a_row_can_not_name_any_function_it_likes(name: str, application: str | None) -> None:
    registry = CallbackRegistry(HERE, own_modules=OwnModules("apps.idle"))
    with pytest.raises(CallbackNotAllowedError, match="allowed_callbacks"):
        registry.find(stored(name, application=application))


@pytest.mark.parametrize("pattern", [__name__, f"{__name__}:work", "*registry"])
def test_allowed_callbacks_may_be_imported(pattern: str) -> None:
    registry = CallbackRegistry(HERE, [pattern])
    assert registry.find(stored(f"{__name__}:work")).reference == f"{__name__}:work"


def test_a_lambda_is_called_only_where_it_was_added() -> None:
    here, elsewhere = CallbackRegistry(HERE), CallbackRegistry(HERE)
    callback = lambda: None  # noqa: E731
    here.bind("j", callback)
    assert here.find(stored(callback)).function is callback
    with pytest.raises(CallbackNotFoundError, match="top level"):
        elsewhere.find(stored(callback))
    with pytest.raises(CallbackNotFoundError):
        here.find(stored(callback, job_id="another"))


def test_a_missing_function_is_named() -> None:
    with pytest.raises(CallbackNotFoundError, match="nothing_here"):
        CallbackRegistry(HERE, [__name__]).find(stored(f"{__name__}:nothing_here"))


def test_coroutines_and_contexts_are_recognized_once() -> None:
    registry = CallbackRegistry(HERE)
    registry.register(work_async)
    found = registry.find(stored(f"{__name__}:work_async"))
    assert found.is_async
    assert found.wants_context


# Whose jobs: what a name was declared as, in which program, and who added the job.

IMPORTABLE = f"{__name__}:work"

KNOWN = ("declared", "marked", "allowed", "own module", "bound to the job", "nothing")


def knowing(how: str, monkeypatch: pytest.MonkeyPatch) -> CallbackRegistry:
    """A registry of this program that knows `work` in one way."""
    monkeypatch.setattr(callback_registry, "_marked", {})
    registry = CallbackRegistry(
        HERE,
        [__name__] if how == "allowed" else (),
        own_modules=OwnModules(__name__, is_trusted=how == "own module"),
    )
    if how == "declared":
        registry.register(work)
    elif how == "marked":
        mark_callback(work)
    elif how == "bound to the job":
        registry.bind("j", work)
    return registry


@pytest.mark.parametrize(("how", "application"), list(itertools.product(KNOWN, [None, HERE, THERE])))
def test_the_right_function_or_none(how: str, application: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of this name in another program is another function (huey #436, taskiq #507)."""
    may = {
        None: how not in ("nothing", "own module"),
        HERE: how != "nothing",
        # This program has declared the very job, with a name that means the same wherever its module is.
        THERE: how == "bound to the job",
    }[application]
    assert knowing(how, monkeypatch).can_call(stored(IMPORTABLE, application=application)) == may


@pytest.mark.parametrize(
    ("is_name_given", "declares", "added_at_run_time", "may"),
    [
        (False, ("others",), False, False),  # it looks like a namesake's
        (False, ("others", "j"), False, True),
        (False, ("others",), True, True),  # no start declares it: any replica of the program has it
        (False, ("others",), None, True),  # no code has added it
        (False, (), False, True),  # this code declares no job with it: perhaps it has come to declare less
        (True, ("others",), False, True),  # somebody has said that it is one program
    ],
)
def test_a_job_that_only_a_namesake_declares_is_not_called(
    is_name_given: bool, declares: tuple[str, ...], added_at_run_time: bool | None, may: bool
) -> None:
    """Two services that both have `jobs:run`, and whose names nobody has given (huey #436, taskiq #507)."""
    registry = CallbackRegistry(HERE, own_modules=OwnModules(__name__), is_name_given=is_name_given)
    for job_id in declares:
        registry.bind(job_id, work)
    job = replace(stored(IMPORTABLE, application=HERE), added_at_run_time=added_at_run_time)
    assert registry.can_call(job) == may
    if not may:
        with pytest.raises(CallbackNotFoundError, match="set `application`"):
            registry.find(job)


@pytest.mark.parametrize("application", [HERE, THERE])
def test_what_a_script_defines_is_that_scripts_alone(application: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `python main.py` has its own `__main__:run`."""
    run = lambda: None  # noqa: E731
    run.__module__, run.__qualname__ = "__main__", "run"
    registry = CallbackRegistry(HERE)
    registry.bind("j", run)
    assert registry.can_call(stored(run, application=application)) == (application == HERE)


def test_a_name_that_only_own_code_may_use_stays_so_once_it_was_looked_up() -> None:
    registry = CallbackRegistry(HERE, own_modules=OwnModules(__name__))
    assert registry.can_call(stored(IMPORTABLE, application=HERE))
    assert not registry.can_call(stored(IMPORTABLE, application=None)), "from the API, say"


def test_own_is_what_the_application_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import apps.idle
    import hypothesis

    assert apps.idle
    assert hypothesis
    monkeypatch.setattr("scheduler_core.engine.callbacks.own_modules._declaring", set())
    own = OwnModules("service.main")
    covered = {"service": True, "service.jobs": True, "apps.idle": True, "__main__": True}
    covered |= {"os": False, "logging.config": False, "hypothesis": False, "scheduler_core.drill.callbacks": False}
    assert {name: own.covers(name) for name in covered} == covered
    assert "service" in own.packages()
    assert "apps" in own.packages()
    assert not {"os", "hypothesis", "scheduler_core", "storage"} & set(own.packages())
    untrusted = OwnModules("service.main", is_trusted=False)
    assert not any(untrusted.covers(name) for name in covered)
    assert untrusted.packages() == ()


def test_a_module_that_declares_jobs_is_own() -> None:
    from scheduler_core.engine.callbacks.own_modules import note_declaring_module

    before = set(declaring)
    try:
        note_declaring_module("installed.service.jobs")
        assert OwnModules().covers("installed.other")
    finally:
        declaring.clear()
        declaring.update(before)


@pytest.mark.parametrize(
    ("callback", "problem"),
    [
        (work, None),
        (f"{__name__}:work", None),
        (lambda: None, "no name that another process finds it by"),
        (f"{__name__}:nothing_here", "does not define"),
        (itertools.count, "not of the application's own modules"),
        ("os:getcwd", "not of the application's own modules"),
    ],
)
def test_what_no_other_process_could_call_is_said(callback: Any, problem: str | None) -> None:
    found = CallbackRegistry(HERE, own_modules=OwnModules(__name__)).problem_elsewhere(callback)
    assert found is None if problem is None else problem in str(found)


NAMES = ("svc.app:work", "svc.app:Jobs.work", "svc.apple:work", "svc.app.sub:work", "svc_app:work", "other:work")


@pytest.mark.parametrize(
    "pattern", ["svc.app", "svc.*", "svc.app:work", "svc.app:*", "svc?app", "svc_app", "*", "*:work", "svc.[a]pp", "%"]
)
def test_what_others_are_told_of_allowed_callbacks_is_what_is_allowed(pattern: str, sql_like: Any) -> None:
    (like,) = as_like([pattern])
    for name in NAMES:
        if matches(name, [pattern]):
            assert sql_like(name, like), (name, like)
        elif "[" not in pattern:
            assert not sql_like(name, like), (name, like)


@pytest.fixture
def sql_like() -> Any:
    """LIKE, as Postgres has it."""

    def is_like(text: str, pattern: str) -> bool:
        parts = re.split(r"(\\.|%|_)", pattern)
        meaning = {"%": ".*", "_": "."}
        expression = "".join(
            re.escape(part[1:]) if part.startswith("\\") else meaning.get(part, re.escape(part)) for part in parts
        )
        return re.fullmatch(expression, text) is not None

    return is_like


# Marking.


def defines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with functions of its own, and what it has imported."""
    monkeypatch.setattr(callback_registry, "_marked", {})
    module = ModuleType("warehouse")
    monkeypatch.setitem(sys.modules, "warehouse", module)
    exec(WAREHOUSE, vars(module))
    return module


WAREHOUSE = """
import asyncio, functools, logging
from subprocess import run
from pathlib import Path
borrowed = asyncio.sleep
partial = functools.partial(run, "ls")
nested = (lambda: (lambda: 1))()
def restock(): ...
async def count(): ...
def _helper(): ...
class Shelf:
    def __call__(self): ...
shelf = Shelf()
"""


def test_a_module_s_own_functions_are_marked_and_nothing_that_it_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert register_callbacks(defines(monkeypatch)) == ["warehouse:restock", "warehouse:count"]
    assert CallbackRegistry(HERE).abilities().callbacks == ("warehouse:count", "warehouse:restock")
    assert CallbackRegistry(HERE).can_call(stored("warehouse:count"))
    assert not CallbackRegistry(HERE).can_call(stored("warehouse:run"))


def test_only_a_module_is_registered() -> None:
    with pytest.raises(TypeError, match="import it, and pass it"):
        register_callbacks("warehouse")  # type: ignore[arg-type]


def test_a_function_that_others_do_not_find_is_not_marked() -> None:
    with pytest.raises(InvalidJobError, match="to the top level of a module"):
        callback(lambda: None)


def test_a_marked_function_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_registry, "_marked", {})
    assert callback(work) is work
    assert CallbackRegistry(HERE).can_call(stored(IMPORTABLE))
