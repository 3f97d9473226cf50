"""The folder of a drill: embedded servers, replicas' logs, commands and witness files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from scheduler_core.drill.schedule import DrillPlan

LEFTOVERS = ("commands", "witness-*.tsv", "replica-*.log", "standby-*", "servers/redis/*.rdb")


@dataclass(slots=True)
class DrillFolder:
    """Removed at the end where it is temporary and nothing in it is worth a look."""

    plan: DrillPlan
    on_progress: Callable[[str], None]
    path: Path = field(default_factory=Path)
    worth_a_look: bool = False

    def __enter__(self) -> Self:
        if self.plan.data_dir is None:
            self.path = Path(tempfile.mkdtemp(prefix="scheduler-drill-"))
        else:
            self.path = self.plan.data_dir.resolve() / "drill"
            self._clear()
        (self.path / "commands").mkdir(parents=True)
        return self

    def _clear(self) -> None:
        """What an earlier drill wrote here would count as this one's; a dump of Redis may be a folder, by a fault."""
        for pattern in LEFTOVERS:
            for path in self.path.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def __exit__(self, *_: object) -> None:
        if self.plan.keep or self.plan.data_dir is not None or self.worth_a_look:
            self.on_progress(f"logs and witness files are in {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)
