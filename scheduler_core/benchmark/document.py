"""Figures for programs: one JSON document, with what one must know of the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scheduler_core.benchmark.figure import Figure
from scheduler_core.runtime.version import version


def as_document(figures: Sequence[Figure], **about: Any) -> dict[str, Any]:
    """All of it; `figures` by their keys. Parameters: about, what else the document should say, such as the commit."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version(),
        **about,
        "machine": machine(),
        "figures": {figure.key: _entry(figure) for figure in figures},
    }


def _entry(figure: Figure) -> dict[str, Any]:
    fields_told = {key: value for key, value in asdict(figure).items() if key != "key"}
    entry = {key: value for key, value in fields_told.items() if value is not False and value not in (None, "", ())}
    return entry if figure.met is None else entry | {"met": figure.met}


def read_figures(document: Mapping[str, Any]) -> list[Figure]:
    """The figures of a document."""
    return [_figure(key, entry) for key, entry in document["figures"].items()]


def _figure(key: str, entry: Mapping[str, Any]) -> Figure:
    known = {field.name for field in fields(Figure)} - {"key", "samples"}
    values = {name: value for name, value in entry.items() if name in known}
    return Figure(key=key, samples=tuple(entry.get("samples", ())), **values)


def machine() -> dict[str, Any]:
    """Cores, their kind, and how busy they are with other things just now."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
