"""Which release of the IANA time zone database counts: the newer one of the host's and the package's.

`zoneinfo` takes the host's files wherever there are any, however old they are, so that a replica fires by whatever its
image was built with. Here the release decides, and the package `tzdata` where both are of one: replicas with the same
packages then agree, whatever their hosts have. Nothing global is changed: user code that calls `ZoneInfo` itself gets
what it always got.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

PACKAGE = "tzdata"

UNKNOWN = ""
"""The release of files that don't say theirs: older than any that does."""

_RELEASE = re.compile(r"(20[0-9]{2})([a-z]{1,2})")
_RELEASE_FILES = ("tzdata.zi", "+VERSION")
"""`tzdata.zi` begins with "# version 2026f"; macOS and the BSDs have a file for it."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*)*", re.ASCII)
_NO_ZONES = ("right/", "posix/", "localtime", "posixrules")
"""`right/` counts leap seconds, which no database's clock does; the others are the same zones again, or another one on
every host."""


@dataclass(frozen=True, slots=True)
class ZoneFiles:
    """A folder of compiled zones, and the release that it says it is of (UNKNOWN where it says nothing)."""

    folder: Path
    release: str
    is_package: bool

    def __str__(self) -> str:
        where = f"the package {PACKAGE}" if self.is_package else f"the host's {self.folder}"
        return f"{self.release or 'no release named'}, {where}"

    @property
    def age(self) -> tuple[int, int, str, bool]:
        """Larger for a newer release; after 2026z comes 2026za. Of two of one release the package counts."""
        match = _RELEASE.match(self.release)
        year, letters = (int(match[1]), match[2]) if match else (0, "")
        return year, len(letters), letters, self.is_package

    def load(self, name: str) -> ZoneInfo | None:
        """The zone of that name; None where these files have none."""
        if not is_zone_name(name):
            return None
        try:
            with (self.folder / name).open("rb") as file:
                return ZoneInfo.from_file(file, key=name)
        except (OSError, ValueError):
            return None

    def names(self) -> frozenset[str]:
        """The zones that there are files of."""
        return _names_below(self.folder)


@dataclass(frozen=True, slots=True)
class ZoneData:
    """The files that count, and what stands in for them where they lack a zone: the newest come first."""

    files: Sequence[ZoneFiles]

    @property
    def release(self) -> str:
        """The release that counts, as 2026f."""
        return self.files[0].release if self.files else UNKNOWN

    def __str__(self) -> str:
        if not self.files:
            return f"none: install the package {PACKAGE}"
        others = f" ({'; '.join(map(str, self.files[1:]))})" if self.files[1:] else ""
        return f"{self.files[0]}{others}"

    def load(self, name: str) -> ZoneInfo | None:
        """The zone of that name; None where there is none."""
        return next((found for files in self.files if (found := files.load(name)) is not None), None)

    def names(self) -> frozenset[str]:
        """Every zone that `load` finds."""
        return frozenset().union(*(files.names() for files in self.files))


def is_zone_name(name: str) -> bool:
    """Whether a name can be that of a zone, which also is a path below a folder and nowhere else."""
    return _NAME.fullmatch(name) is not None and not name.startswith(_NO_ZONES)


@lru_cache(maxsize=1)
def zone_data() -> ZoneData:
    """The data of this process: looked for once, so that all of it goes by the same."""
    return choose([*_host_files(), *_package_files()])


def choose(candidates: Sequence[ZoneFiles]) -> ZoneData:
    """The data made of these files, the newest release first."""
    return ZoneData(tuple(sorted(candidates, key=lambda files: files.age, reverse=True)))


def _host_files() -> list[ZoneFiles]:
    # The first folder that has any, as zoneinfo takes it; PYTHONTZPATH may name others.
    folders = (Path(folder) for folder in zoneinfo.TZPATH)
    return [read_files(folder) for folder in folders if (folder / "UTC").is_file()][:1]


def _package_files() -> list[ZoneFiles]:
    # Found and not imported: the first thing that every service imports is this.
    spec = find_spec(PACKAGE)
    locations = spec.submodule_search_locations if spec is not None else None
    folders = (Path(location, "zoneinfo") for location in locations or ())
    return [read_files(folder, is_package=True) for folder in folders if (folder / "UTC").is_file()][:1]


def read_files(folder: Path, *, is_package: bool = False) -> ZoneFiles:
    """A folder of compiled zones with the release that it names."""
    for name in _RELEASE_FILES:
        try:
            with (folder / name).open(encoding="ascii", errors="replace") as file:
                match = _RELEASE.search(file.readline())
        except OSError:
            continue
        if match:
            return ZoneFiles(folder, match[0], is_package)
    return ZoneFiles(folder, UNKNOWN, is_package)


@lru_cache(maxsize=8)
def _names_below(folder: Path) -> frozenset[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return frozenset(name for name in found if is_zone_name(name) and _is_compiled(folder / name))


def _is_compiled(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"TZif"
    except OSError:
        return False
