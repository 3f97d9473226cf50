"""The wheel: built, installed into a clean venv elsewhere, migrated with and run from."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import psycopg
from waiting import eventually

ROOT = Path(__file__).parents[2]

MOST_BYTES = 900_000
"""Of the wheel: 690,000 when this was written."""

APP = """
from scheduler_core import job

@job("tick", every=0.2)
def tick():
    pass
"""


def test_the_wheel_works_where_it_is_installed(
    tmp_path: Path, environment: dict[str, str], sql: psycopg.Connection[object]
) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < MOST_BYTES
    assert {"scheduler_core/py.typed", "storage/py.typed"} <= set(zipfile.ZipFile(wheel).namelist())
    # The dependencies come from this environment; the packages under test only from the wheel.
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True, timeout=120)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    installed = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(installed)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "app.py").write_text(APP)
    clean = {k: v for k, v in environment.items() if k != "PYTHONPATH"} | {"SCHEDULER_SCHEMA": "from_wheel"}
    found = subprocess.run(
        [python, "-c", "import storage.revisions as r; print(r.folder())"],
        check=True,
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env=clean,
        timeout=60,
    ).stdout.strip()
    assert found == str(site / "storage" / "migrations")

    scheduler = tmp_path / "venv" / "bin" / "scheduler"
    subprocess.run([scheduler, "migrate"], check=True, cwd=elsewhere, env=clean, timeout=60)
    with subprocess.Popen([scheduler, "run", "--app", "app"], cwd=elsewhere, env=clean) as replica:
        try:
            eventually(
                lambda: sql.execute("SELECT 1 FROM from_wheel.runs WHERE status = 'succeeded'").fetchone(),
                within_seconds=30,
            )
        finally:
            replica.terminate()
    assert replica.returncode == 0
