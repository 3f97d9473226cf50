"""The election has its clock, its dice and its threads from whoever makes it, and so runs in simulated time."""

from __future__ import annotations

import ast
from pathlib import Path

ELECTION = Path(__file__).parents[2] / "scheduler_core" / "engine" / "election"

OF_THE_MACHINE = {"datetime.now", "os.urandom"}
MODULES = {"random", "secrets", "threading", "time", "uuid", "scheduler_core.engine.clock",
           "scheduler_core.runtime.loop_thread"}  # fmt: skip


def of_the_machine(tree: ast.Module) -> set[str]:
    """The modules that this one has of those which read a clock, draw or start threads."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found |= {ast.unparse(node)} & OF_THE_MACHINE
    return found & (MODULES | OF_THE_MACHINE)


def test_only_one_file_knows_the_machine() -> None:
    users = {path.name: of_the_machine(ast.parse(path.read_text(encoding="utf-8"))) for path in ELECTION.glob("*.py")}
    assert users.pop("surroundings.py")
    assert {name: found for name, found in users.items() if found} == {}
