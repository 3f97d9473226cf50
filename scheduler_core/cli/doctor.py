"""`scheduler doctor`: is everything well, and if not, what is it?"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import typer

from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.container import Container, version
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.ports import InvalidRow

OVERDUE_SECONDS = 10.0
SKEW_WARNING_SECONDS = 1.0


def doctor(as_json: AsJson = False) -> None:
    """Look at servers, schema, clocks, replicas and jobs. Exit code 1 if something needs a person."""
    report = with_container(examine)
    if as_json:
        print_json(report)
    else:
        print_table([{"field": k, "value": v} for k, v in report["facts"].items()], ("field", "value"), empty="")
        print_table(report["troubles"], ("kind", "subject", "detail"), empty="Nothing needs attention.")
        if report["troubles"]:
            console.print("\nA pause is somebody's wish and no error; everything else wants a look.")
    if any(trouble["kind"] != "paused" for trouble in report["troubles"]):
        raise typer.Exit(1)


async def examine(container: Container) -> dict[str, Any]:
    """Gather facts and troubles."""
    await container.check_schema()
    audit = container.get_audit()
    before = datetime.now(UTC)
    server = await audit.server()
    skew = (server["now"] - before).total_seconds()
    facts: dict[str, Any] = {
        "version": version(),
        "servers": container.servers,
        "postgres": server["version"],
        "default timezone": container.settings.default_timezone,
        "time zone data": _tz_data(),
        "clock skew": f"{skew:+.3f} s against Postgres",
        "partitions until": str(server["last_partition"]),
    }
    troubles = await audit.troubles(overdue_seconds=OVERDUE_SECONDS)
    if abs(skew) > SKEW_WARNING_SECONDS:
        troubles.append({"kind": "clock", "subject": "this machine", "detail": f"{skew:+.1f} s off Postgres's clock"})
    try:
        status = await container.leader_status()
        facts["leader"] = status["instance_id"] or "nobody"
        facts["replicas"] = len(status["replicas"])
        if status["instance_id"] is None and status["replicas"]:
            troubles.append({"kind": "leader", "subject": "-", "detail": "replicas live, and nobody leads"})
    except SchedulerError as error:
        troubles.append({"kind": "redis", "subject": "-", "detail": str(error)})
    troubles += await _unreadable(container)
    return {"facts": facts, "troubles": troubles}


async def _unreadable(container: Container) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    last = ""
    while ids := await container.get_audit().job_ids(after=last, limit=1_000):
        for job in await container.get_storage().jobs.load(ids):
            if isinstance(job, InvalidRow):
                found.append({"kind": "unreadable", "subject": job.job_id, "detail": job.problem})
        last = ids[-1]
    return found


def _tz_data() -> str:
    # zoneinfo prefers the host's files to the package's: say which ones count.
    for folder in zoneinfo.TZPATH:
        try:
            with open(f"{folder}/tzdata.zi", encoding="utf-8") as file:
                return f"{file.readline().removeprefix('# version').strip()} (host)"
        except OSError:
            continue
    return f"{metadata.version('tzdata')} (package)"
