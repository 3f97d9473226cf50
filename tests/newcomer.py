"""Follow the tutorials as a newcomer would: word for word, in an empty folder, in a new venv, with the built wheel.

    python -m tests.newcomer [TUTORIAL…]

Needs a package index for the dependencies. Says how long each tutorial took, and the time from its first command to its
first fire.
The source tree is on no path of what runs: the wheel is all that there is of this project.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from page_player import Player
from pages import ROOT, blocks_of

ORDER = ("quickstart", "fastapi", "from-cron", "from-apscheduler", "from-celery-beat")


def main(names: list[str]) -> None:
    """Build the wheel, then follow each tutorial. Ends with the first block that does not do what its page says."""
    with tempfile.TemporaryDirectory(prefix="newcomer-") as place:
        wheels = Path(place) / "wheels"
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, ROOT],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        print(f"{'tutorial':20} {'in all':>8} {'install':>8} {'first fire after':>17} {'after the install':>18}")
        for name in names:
            folder = Path(place) / name
            folder.mkdir()
            _follow(name, folder, wheels)


def _follow(name: str, folder: Path, wheels: Path) -> None:
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        **{k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "HTTP", "REQUESTS_"))},
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
    }
    environment["PATH"] = f"{Path(sys.base_prefix) / 'bin'}:{environment['PATH']}"
    began = time.time()
    installed = began
    with Player(folder, environment, is_newcomer=True) as player:
        for block in blocks_of(ROOT / "docs" / "tutorials" / f"{name}.md"):
            player.play(block)
            if "installs" in block.notes:
                installed = time.time()
        ended = time.time()
        listed = subprocess.run(
            [folder / ".venv" / "bin" / "scheduler", "runs", "list", "--limit", "1000", "--json"],
            env=environment, cwd=folder, check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        first = min(
            datetime.fromisoformat(run["started_at"]).timestamp()
            for run in json.loads(listed.stdout)
            if run["started_at"]
        )
    print(
        f"{name:20} {ended - began:6.1f} s {installed - began:6.1f} s"
        f" {first - began:15.1f} s {first - installed:16.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(ORDER))
