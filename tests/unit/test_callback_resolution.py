"""What a callback's name may reach: functions that its module defines, and nothing that it merely holds."""

from __future__ import annotations

import ast
import importlib
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from apps import lending
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core import ScheduleJob
from scheduler_core.domain.errors import CallbackNotAllowedError, CallbackNotFoundError
from scheduler_core.domain.planning.plan import StoredJob
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.callbacks.resolution import check_callback_name, resolve_callback

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
HERE = lending.__name__

DEFINED = ("work", "work_async", "decorated", "Report.send", "Report.render", "Report.build", "Report.Section.write")

BORROWED = (
    *("logging.os.system", "os.system", "subprocess.run", "subprocess.Popen", "asyncio.create_subprocess_shell"),
    *("system", "Popen", "Report.run", "Report.shell", "Report.library.run", "Child.wait", "Child.send", "Child.build"),
    *("Report", "Calls", "instance", "partial", "renamed", "borrowed", "loop_maker", "anonymous", "made_up"),
    *("disguised", "posing", "Callable", "Any"),
    *("__builtins__.eval", "__loader__.load_module", "work.__globals__", "work.__call__", "Report.__init__"),
    *("Report.__subclasses__", "Calls.__call__", "Report.Section.__class__", "__getattr__", "__import__"),
)


@pytest.mark.parametrize("name", DEFINED)
def test_what_the_module_defines_is_reached(name: str) -> None:
    found = resolve_callback(f"{HERE}:{name}")
    assert found.__qualname__ == name
    assert found.__module__ == HERE


def test_a_class_method_comes_with_its_class() -> None:
    assert resolve_callback(f"{HERE}:Report.build")() is lending.Report


@pytest.mark.parametrize("name", BORROWED)
def test_what_the_module_merely_holds_is_not_reached(name: str) -> None:
    with pytest.raises(CallbackNotFoundError, match="lending"):
        resolve_callback(f"{HERE}:{name}")
    with pytest.raises(CallbackNotFoundError, match="lending"):
        check_callback_name(f"{HERE}:{name}")
    registry = CallbackRegistry("", [HERE])
    registry.register(f"{HERE}:{name}")
    definition = ScheduleJob("j", "J", "interval", 60, f"{HERE}:{name}").definition("UTC")
    with pytest.raises(CallbackNotFoundError):
        registry.find(StoredJob(definition, 1, EPOCH, definition.schedule(EPOCH), None))


@pytest.mark.parametrize("reference", ["os.path:join", "importlib:metadata.version", "xml.etree.cElementTree:dump"])
def test_another_name_of_a_module_is_none(reference: str) -> None:
    with pytest.raises(CallbackNotFoundError):
        resolve_callback(reference)


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "raise KeyboardInterrupt", "1 / 0", "import not_there_at_all"])
def test_a_module_that_does_not_import_is_an_answer(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "does_not_import.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CallbackNotFoundError, match="can't be imported"):
        resolve_callback("does_not_import:work")
    # A process without the code takes the name in; a replica that has it decides.
    check_callback_name("does_not_import:work")


# No name reaches anything that its module does not define: asked of all of the standard library, whose own text says
# what it defines.

DO_NOT_IMPORT = frozenset({"antigravity", "this", "idlelib", "turtledemo", "turtle", "tkinter", "lib2to3"})


def standard_modules() -> list[ModuleType]:
    modules = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(sys.stdlib_module_names - DO_NOT_IMPORT):
            try:
                modules.append(importlib.import_module(name))
            except ImportError:
                continue  # another platform's
    return modules


def defined_in(module: ModuleType) -> frozenset[str]:
    """Every function that the module's text defines, by classes alone, as the text has it."""
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(".py"):
        return frozenset()
    return frozenset(_definitions(ast.parse(Path(path).read_bytes()), ""))


def _definitions(tree: ast.AST, prefix: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from _definitions(node, f"{prefix}{node.name}.")
        elif not isinstance(node, ast.expr):
            yield from _definitions(node, prefix)  # within an `if`, a `try`, a `with`


def names_within(module: ModuleType) -> Iterator[str]:
    """Each name that stands in the module, and each that stands in what that is."""
    for name, held in list(vars(module).items()):
        yield name
        for inner in list(getattr(held, "__dict__", ())):
            yield f"{name}.{inner}"


def test_no_name_of_the_standard_library_reaches_what_its_module_does_not_define() -> None:
    tried = reached = 0
    for module in standard_modules():
        defined = defined_in(module)
        for name in names_within(module):
            tried += 1
            try:
                found = resolve_callback(f"{module.__name__}:{name}")
            except CallbackNotFoundError:
                continue
            reached += 1
            assert name in defined, f"{module.__name__}:{name}"
            assert found.__module__ == module.__name__, f"{module.__name__}:{name}"
    assert tried > 50_000, "the standard library was not looked through"
    assert reached > 2_000, "what a module defines is reached"


@given(
    module=st.sampled_from(["logging", "asyncio", "subprocess", "os", "concurrent.futures", "multiprocessing", HERE]),
    path=st.lists(
        st.sampled_from(
            [
                "os",
                "sys",
                "subprocess",
                "asyncio",
                "system",
                "Popen",
                "run",
                "logging",
                "work",
                "Report",
                "eval",
                "Child",
            ]
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_no_way_through_a_module_leads_anywhere(module: str, path: list[str]) -> None:
    name = ".".join(path)
    try:
        found = resolve_callback(f"{module}:{name}")
    except CallbackNotFoundError:
        return
    assert name in defined_in(sys.modules[module])
    assert found.__module__ == module


def test_a_refusal_says_what_to_do() -> None:
    with pytest.raises(CallbackNotAllowedError, match=r"logging\.os\.system.*define one there"):
        resolve_callback(f"{HERE}:logging.os.system")
