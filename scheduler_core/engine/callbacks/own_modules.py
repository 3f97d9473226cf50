"""Which modules are the application's own: their functions may be named by jobs that its code has added.

A job that was added at run time, from a request say, names a function of the service. After a restart nobody has
declared that function anew; its job must go on firing all the same. What must not be called for it are the libraries
that happen to be imported. So own are the top-level packages of the module `app`, of the script and of each module that
declares with `@job` or `@callback`; and whatever else the process has imported from source that is neither the standard
library's nor installed.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import ModuleType

INSTALLED = frozenset({"site-packages", "dist-packages"})
OURS = frozenset({"scheduler_core"})

_declaring: set[str] = set()
"""Top-level packages of modules that declare: known to every scheduler of the process, as the declarations are."""


def note_declaring_module(name: str) -> None:
    """A module declares jobs or callbacks, and so belongs to the application."""
    _declaring.add(_top_level(name))


class OwnModules:
    """Parameters: app, the module that declares the jobs, where one is named; is_trusted, False where only declared,
    marked and allowed callbacks are to be called.
    """

    def __init__(self, app: str | None = None, *, is_trusted: bool = True) -> None:
        self._app = app
        self._is_trusted = is_trusted
        self._imported: tuple[int, frozenset[str]] = (0, frozenset())
        """The top-level names of what is imported from source, and of how many modules that was worked out."""

    def covers(self, module_name: str) -> bool:
        """Whether a module is the application's own."""
        if not self._is_trusted:
            return False
        top_level = _top_level(module_name)
        return top_level not in OURS and (top_level in self._named() or _is_source(sys.modules.get(module_name)))

    def packages(self) -> tuple[str, ...]:
        """The top-level packages that are own, as far as they are known."""
        if not self._is_trusted:
            return ()
        if len(sys.modules) != self._imported[0]:
            modules = list(sys.modules.items())
            self._imported = len(modules), frozenset(_top_level(n) for n, module in modules if _is_source(module))
        return tuple(sorted((self._named() | self._imported[1]) - OURS))

    def _named(self) -> set[str]:
        named = {"__main__", *_declaring}
        if self._app is not None:
            named.add(_top_level(self._app))
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        if spec is not None and not _is_library(spec.origin):
            named.add(_top_level(spec.name))
        return named


def _top_level(module_name: str) -> str:
    return module_name.partition(".")[0]


def _is_source(module: ModuleType | None) -> bool:
    """Whether a module was loaded from source that is neither the standard library's nor installed."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not _is_library(file)


@lru_cache(maxsize=16_384)
def _is_library(file: str | None) -> bool:
    if file is None:
        return True
    path = Path(file)
    if INSTALLED.intersection(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _library_folders())


@lru_cache(maxsize=1)
def _library_folders() -> tuple[Path, ...]:
    known = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    known |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(folder) for folder in known if folder)
