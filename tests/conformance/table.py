"""Port by port: who implements it, and where that is held against the others."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from scheduler_core import ports

ROOT = Path(__file__).parents[2]
FOLDERS = (
    ("scheduler_core", "scheduler_core"),
    ("storage", "scheduler_core.storage"),
    ("tests/simulation", "simulation"),
)


@dataclass(frozen=True)
class Row:
    """A port. `lacks`: by implementation, the methods that it does not have, with the reason."""

    implementations: tuple[str, ...]
    asked_by: tuple[str, ...]
    lacks: Mapping[str, tuple[frozenset[str], str]] = field(default_factory=dict)


STORAGE = "scheduler_core.storage."
LEDGER = "scheduler_core.testing.ledger.Ledger"
HERE = "tests/conformance/"

TABLE: Mapping[str, Row] = {
    "Alarms": Row((STORAGE + "alerts.alarms.AlarmStore",), ("tests/integration/test_alarms.py",)),
    "Notifications": Row((STORAGE + "alerts.outbox.Outbox",), ("tests/integration/test_notifications.py",)),
    "DatabaseTime": Row((STORAGE + "postgres.clock.ClockStore",), ("tests/integration/test_clock_jump.py",)),
    "SessionListener": Row(
        ("scheduler_core.engine.election.control_link.ControlLink",), ("tests/simulation/test_servers.py",)
    ),
    "ControlSession": Row(
        (
            STORAGE + "fire.control_session.PostgresControlSession",
            "simulation.postgres_server.SimulatedSession",
            "simulation.fire.sessions.SteppedSession",
        ),
        ("tests/simulation/test_servers.py", "tests/integration/test_terms.py"),
    ),
    "Lease": Row(
        (STORAGE + "redis.leases.LeaseStore", "simulation.redis_server.simulated_lease"),
        ("tests/simulation/test_servers.py", "tests/integration/test_lease.py"),
    ),
    "Locks": Row(
        (STORAGE + "redis.locks.LockService", "scheduler_core.testing.local_locks.LocalLocks"),
        (HERE + "test_locks.py",),
    ),
    "Executor": Row(
        ("scheduler_core.executors.process.ProcessExecutor", "scheduler_core.executors.dask.DaskExecutor"),
        ("tests/failover/test_executors.py",),
    ),
    "Jobs": Row(
        (STORAGE + "jobs.definitions.JobStore", LEDGER),
        (HERE + "test_jobs.py",),
        {
            LEDGER: (
                frozenset({"definition_at", "states", "announce"}),
                "a ManualScheduler has no revert, tells a job's state from the ledger itself, and has no other replica",
            )
        },
    ),
    "Calendars": Row((STORAGE + "jobs.calendars.CalendarStore",), ("tests/integration/test_calendars.py",)),
    "Runs": Row(
        (STORAGE + "fire.runs.RunStore",),
        ("tests/integration/test_claim.py", HERE + "test_jobs.py"),
    ),
    "OfferListener": Row(
        (STORAGE + "fire.offer_listener.PostgresOfferListener", "simulation.fire.replica.DeafListener"),
        ("tests/integration/test_offers.py",),
    ),
    "Requests": Row(
        (STORAGE + "fire.requests.RequestStore",),
        ("tests/integration/test_cancel.py", "tests/integration/test_backfill.py", "tests/stateful/machine.py"),
    ),
    "Tables": Row((STORAGE + "tables.maintenance.TableStore",), ("tests/integration/test_tables.py",)),
}

LOOKS_LIKE_ONE: Mapping[tuple[str, str], str] = {
    ("Executor", "scheduler_core.engine.remote.worker.Worker"): "the other end: it makes what an executor delivers",
    ("OfferListener", "scheduler_core.engine.fire.taking.Taking"): "the other end: it listens, for ever",
}
"""Classes that have a port's methods, and are something else."""


def protocols() -> dict[str, type]:
    """Every protocol of the ports."""
    found: dict[str, type] = {}
    for info in pkgutil.iter_modules(ports.__path__, ports.__name__ + "."):
        name, module = info.name, importlib.import_module(info.name)
        found |= {
            item.__name__: item
            for item in vars(module).values()
            if inspect.isclass(item) and Protocol in item.__bases__ and item.__module__ == name
        }
    return found


def members(protocol: type) -> dict[str, Any]:
    """What a port asks for."""
    return {name: item for name, item in vars(protocol).items() if not name.startswith("_") and callable(item)}


def find(place: str) -> Any:
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Seen:
    """A class as its file has it."""

    place: str
    methods: frozenset[str]
    bases: tuple[str, ...]


def candidates() -> Iterator[tuple[str, frozenset[str]]]:
    """Every class of the product and of the simulated servers, with its methods; read, and not imported: seconds."""
    seen = {one.place: one for folder, package in FOLDERS for one in _classes(ROOT / folder, package)}
    by_name = {one.place.rpartition(".")[2]: one for one in seen.values()}

    def methods(one: Seen) -> frozenset[str]:
        inherited = (methods(by_name[base]) for base in one.bases if base in by_name and by_name[base] is not one)
        return one.methods.union(*inherited)

    for one in seen.values():
        if "Protocol" not in one.bases:
            yield one.place, methods(one)


def _classes(folder: Path, package: str) -> Iterator[Seen]:
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\nclass " not in text or path.name.startswith("test_"):
            continue
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                defined = (item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef))
                bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
                yield Seen(f"{module}.{node.name}", frozenset(defined), bases)
