"""Who may import whom, how light the import is, and that nothing shadows a library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import scheduler_core

ROOT = Path(__file__).parents[2]

HEAVY = ("sqlalchemy", "asyncpg", "redis", "alembic", "scheduler_core.storage", "tenacity", "pydantic", "typer", "rich")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_importing_the_package_stays_light() -> None:
    loaded = run(f"import sys, scheduler_core; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_storage_and_scheduler_core_may_be_imported_in_any_order() -> None:
    run("import scheduler_core.storage.fire.runs, scheduler_core.engine.scheduler")
    run("import scheduler_core.container, scheduler_core.storage.fire.control_session")


def test_our_storage_is_nobody_elses() -> None:
    """The folder `storage` of the repository is reached through `scheduler_core` alone, where no user's module stands
    before it: one imported under both names would be there twice.
    """
    assert (ROOT / "scheduler_core" / "storage").resolve() == ROOT / "storage"
    bare = [
        f"{path.relative_to(ROOT)}: {line}"
        for folder in ("alembic", "bench", "docs", "examples", "scheduler_core", "storage", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(?:from|import) storage\b", line)
    ]
    assert bare == []


def test_every_public_name_resolves() -> None:
    for name in scheduler_core.__all__:
        assert getattr(scheduler_core, name) is not None


def test_the_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_nothing_shadows_alembic() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
