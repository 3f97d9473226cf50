"""An environment of its own for each peer, from exact versions, kept in a cache folder."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.catalogue import Peer, lacking

REQUIREMENTS = Path(__file__).with_name("requirements")
INSTALL_SECONDS = 600.0
ALIAS = re.compile(r"^type (\w+)\[\w+\] = ", re.MULTILINE)
"""A `type` statement, the one thing of Python 3.12 that a peer uses here."""


class VenvError(RuntimeError):
    """The environment can't be made; the message is the installer's last words."""


def build(peer: Peer, cache: Path) -> Path:
    """The Python of the peer's environment, made if its requirements are new. Raises VenvError."""
    wanted = REQUIREMENTS / f"{peer.name}.txt"
    stamp = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    home = cache / peer.name
    python = home / "bin" / "python"
    made = home / ".made"
    if made.exists() and made.read_text(encoding="ascii") == stamp:
        return python
    shutil.rmtree(home, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(home))
    newer = ["--ignore-requires-python"] if lacking(peer) else []
    _run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", *newer, "-r", str(wanted))
    if lacking(peer):
        _rewrite(home, peer.package)
    made.write_text(stamp, encoding="ascii")
    return python


def version(peer: Peer) -> str:
    """The exact version that is measured."""
    for line in (REQUIREMENTS / f"{peer.name}.txt").read_text(encoding="utf-8").splitlines():
        name, _, number = line.partition("==")
        if name.lower() == peer.package.lower():
            return number
    raise VenvError(f"requirements/{peer.name}.txt has no line {peer.package}==…: add one")


def _rewrite(home: Path, package: str) -> None:
    """Make type aliases what they were before `type` statements: plain assignments."""
    for path in home.glob(f"lib/python*/site-packages/{package}/*.py"):
        text = path.read_text(encoding="utf-8")
        plain = ALIAS.sub(r"\1 = ", text)
        if plain != text:
            path.write_text(plain, encoding="utf-8")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise VenvError(f"{' '.join(command[:4])} … failed: {said[-1]}")
