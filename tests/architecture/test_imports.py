"""Who may import whom, how light the import is, and that nothing shadows a library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import scheduler_core

ROOT = Path(__file__).parents[2]

HEAVY = ("sqlalchemy", "asyncpg", "redis", "alembic", "storage", "tenacity", "pydantic", "typer", "rich")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_importing_the_package_stays_light() -> None:
    loaded = run(f"import sys, scheduler_core; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_storage_and_scheduler_core_may_be_imported_in_any_order() -> None:
    run("import storage.runs, scheduler_core.engine.scheduler")
    run("import scheduler_core.container, storage.terms")


def test_somebody_elses_storage_is_named(tmp_path: Path) -> None:
    """A folder named `storage` in the working directory stands before ours."""
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "__init__.py").touch()
    code = "from scheduler_core import SchedulerService; SchedulerService.init()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert str(tmp_path / "storage") in done.stderr.splitlines()[-1]
    assert "rename" in done.stderr


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
