"""`PYTHONPATH=tests python -m traces FILE …`: checks traces; ends with 1 if one is refused."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.drill.trace import read_lines

from .cycles import NotSerializableError, check, transactions
from .replay import TraceRefusedError, replay


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m traces", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    sys.exit(1 if [file for file in parser.parse_args().files if _is_refused(file)] else 0)


def _is_refused(file: Path) -> bool:
    began = time.process_time()
    try:
        lines = list(read_lines(file.read_text(encoding="utf-8").splitlines()))
        replayed = replay(lines)
        graph = check(lines)
    except (TraceRefusedError, NotSerializableError, InvalidSettingsError, OSError) as error:
        print(f"{file}: REFUSED {error}")
        return True
    print(
        f"{file}: {replayed.lines:,} lines, {replayed.steps.total():,} steps that the model allows, "
        f"{replayed.inferred.total():,} more inferred; {len(list(transactions(lines))):,} transactions, "
        f"{sum(graph.counts.values()):,} dependencies, no cycle; {time.process_time() - began:.1f} s"
    )
    for name, counts in (
        ("lines", replayed.by_event),
        ("inferred", replayed.inferred),
        ("beyond the model", replayed.beyond),
    ):
        if counts:
            print(f"  {name}: " + ", ".join(f"{count:,} {what}" for what, count in counts.most_common()))
    return False


if __name__ == "__main__":
    main()
