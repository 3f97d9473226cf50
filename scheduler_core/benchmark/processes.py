"""CPU time and memory of other processes, as the kernel counts them. Only Linux says; elsewhere they are None."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PARENT, _OWN_TIMES, _ALL_TIMES = 1, slice(11, 13), slice(11, 15)


def cpu_seconds(pid: int) -> float | None:
    """User and system time of one process so far."""
    fields = _stat(pid)
    return None if fields is None else sum(map(int, fields[_OWN_TIMES])) / _TICKS_PER_SECOND


def tree_cpu_seconds(pid: int) -> float | None:
    """The same of a process and all that came from it, those that have ended included."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    spent: dict[int, int] = {}
    for folder in _PROC.glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields is not None:
            children[int(fields[_PARENT])].append(int(folder.name))
            spent[int(folder.name)] = sum(map(int, fields[_ALL_TIMES]))
    if pid not in spent:
        return None
    ticks, left = 0, [pid]
    while left:
        one = left.pop()
        ticks += spent[one]
        left += children[one]
    return ticks / _TICKS_PER_SECOND


def memory_megabytes(pid: int, field: str = "VmRSS") -> float | None:
    """Resident memory now (`VmRSS`), or the most so far (`VmHWM`)."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the program's name."""
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
