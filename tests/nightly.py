"""`python -m tests.nightly`: the figures of docs/nightly.json as they stand on docs/track-record.md, written there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- nightly: made from docs/nightly.json -->", "<!-- end of nightly -->"


def table(held: Mapping[str, Any]) -> str:
    """The figures for the page."""
    rows = [f"| {job['job']} | `{job['command']}` | {job['came_to']} | {job['findings']} |" for job in held["jobs"]]
    return "\n".join([held["says"], "", "| job | command | came to | findings |", "|---|---|---|---|", *rows])


def figures() -> Mapping[str, Any]:
    """What the file has."""
    held: Mapping[str, Any] = json.loads((DOCS / "nightly.json").read_text(encoding="utf-8"))
    return held


def main() -> None:
    page = DOCS / "track-record.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table(figures())}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
