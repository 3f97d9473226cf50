"""The wheel: built, installed into a clean venv elsewhere, run from, and type-checked against."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from waiting import eventually

ROOT = Path(__file__).parents[2]
USER = ROOT / "tests" / "user"

MOST_BYTES = 1_050_000
"""Of the wheel: 945,000 when this was written."""

APP = """
from scheduler_core import job

@job("tick", every=0.2)
def tick():
    pass
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """A venv that has the wheel, and a folder elsewhere with a user's files."""

    wheel: Path
    binaries: Path
    site: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.binaries / "python"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built and installed once. The dependencies come from this environment, the packages under test from the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    install = [binaries / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=120)
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")))
    elsewhere = folder / "elsewhere"
    shutil.copytree(USER, elsewhere)
    (elsewhere / "app.py").write_text(APP)
    return Installed(wheel, binaries, site, elsewhere)


@pytest.fixture
def clean(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a user: the test's servers, and nothing of this repository."""
    return {k: v for k, v in environment.items() if k != "PYTHONPATH"} | {"SCHEDULER_SCHEMA": "from_wheel"}


def run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A user's command, in their folder."""
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, env=environment, timeout=240
    )


def test_the_wheel_is_small_and_typed(installed: Installed) -> None:
    assert installed.wheel.stat().st_size < MOST_BYTES
    assert "scheduler_core/py.typed" in set(zipfile.ZipFile(installed.wheel).namelist())


def test_the_wheel_works_where_it_is_installed(
    installed: Installed, clean: dict[str, str], sql: psycopg.Connection[object]
) -> None:
    found = subprocess.run(
        [installed.python, "-c", "import scheduler_core.storage.postgres.revisions as r; print(r.folder())"],
        check=True,
        capture_output=True,
        text=True,
        cwd=installed.folder,
        env=clean,
        timeout=60,
    ).stdout.strip()
    assert found == str(installed.site / "scheduler_core" / "storage" / "migrations")

    scheduler = installed.binaries / "scheduler"
    subprocess.run([scheduler, "migrate"], check=True, cwd=installed.folder, env=clean, timeout=60)
    with subprocess.Popen([scheduler, "run", "--app", "app"], cwd=installed.folder, env=clean) as replica:
        try:
            eventually(
                lambda: sql.execute("SELECT 1 FROM from_wheel.runs WHERE status = 'succeeded'").fetchone(),
                within_seconds=30,
            )
        finally:
            replica.terminate()
    assert replica.returncode == 0


@pytest.mark.parametrize("place", ["storage.py", "storage/__init__.py"])
@pytest.mark.parametrize(
    "order", ["import storage, scheduler_core.container", "import scheduler_core.container, storage"]
)
def test_a_users_own_storage_does_not_collide(installed: Installed, tmp_path: Path, place: str, order: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("WHOSE = 'mine'")
    code = f"{order}; from scheduler_core import LockService; print(storage.WHOSE, LockService.__module__)"
    done = run([installed.python, "-c", code], tmp_path)
    assert done.stdout.split() == ["mine", "scheduler_core.storage.redis.locks"], done.stderr


def test_a_users_service_runs(installed: Installed, clean: dict[str, str]) -> None:
    """What the type checkers below nod at is accepted at run time too."""
    done = run([installed.python, "service.py"], installed.folder, clean)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["done"]), done.stderr


def mypy(installed: Installed) -> list[tuple[str, int, str]]:
    """`mypy --strict` on the user's files, knowing nothing but the venv: file, line and message of each error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--output=json"]
    given = ["--cache-dir", ".cache", "--python-executable", installed.python, "service.py", "mistakes.py"]
    done = run([*command, *given], installed.folder)
    assert done.returncode in {0, 1}, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(f["file"], f["line"], f["message"]) for f in found if f["severity"] == "error"]


def pyright(installed: Installed) -> list[tuple[str, int, str]]:
    """The same of pyright, in its strict mode. From a wheel that brings all of it along: pyright's own fetches it."""
    (installed.folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [Path(sys.executable).parent / "basedpyright", "--outputjson", "--pythonpath", installed.python]
    done = run([*command, "service.py", "mistakes.py"], installed.folder)
    assert done.returncode in {0, 1}, done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 2
    return [
        (Path(f["file"]).name, f["range"]["start"]["line"] + 1, f["message"])
        for f in found["generalDiagnostics"]
        if f["severity"] == "error"
    ]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_type_checkers_pass_a_users_service_and_find_each_mistake(
    installed: Installed, checker: Callable[[Installed], list[tuple[str, int, str]]]
) -> None:
    found = checker(installed)
    assert [error for error in found if error[0] == "service.py"] == []
    lines = (USER / "mistakes.py").read_text(encoding="utf-8").splitlines()
    mistakes = {number for number, line in enumerate(lines, 1) if re.search(r"# mistake$", line)}
    assert len(mistakes) > 40
    assert {line for file, line, _ in found if file == "mistakes.py"} == mistakes
