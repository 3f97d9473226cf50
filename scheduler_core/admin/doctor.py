"""Is everything well, and if not, what is it? What the doctor of the command line and of the API find."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from scheduler_core.admin.explain import open_hold
from scheduler_core.admin.lease import lease_findings
from scheduler_core.admin.proposal import Stored, read_stored
from scheduler_core.admin.status import leader_status
from scheduler_core.container import Container
from scheduler_core.domain.clock import WHAT_TO_DO, describe_hold
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.wording import plain
from scheduler_core.engine.operations.tables import TableScheduler
from scheduler_core.jobs_file.difference import compare
from scheduler_core.runtime.host_zone import host_zone
from scheduler_core.runtime.version import version
from scheduler_core.settings import Settings
from scheduler_core.support.zone_data import zone_data

SKEW_WARNING_SECONDS = 1.0
SHARES_SCHEMA = (
    "is where this role's tables land that name no schema, because the role or its search_path is called so: let the "
    "role be called otherwise, or ALTER ROLE … SET search_path TO public"
)
WISHES = frozenset({"paused", "reverted"})
"""Troubles that are somebody's wish and no error."""


async def examine(container: Container, declared: Sequence[ScheduleJob] | None = None) -> dict[str, Any]:
    """Gather facts and findings. `declared` are the jobs of the code that the stored ones are compared with."""
    notice = await container.check_schema()
    lacking = await container.get_rights().lacking()
    if not lacking.can_look:
        return {
            "facts": {"version": version(), "servers": container.servers},
            "findings": list(lacking.findings),
        }
    audit = container.get_audit()
    before = datetime.now(UTC)
    server = await audit.server()
    skew = (server["now"] - before).total_seconds()
    facts: dict[str, Any] = {
        "version": version(),
        "servers": container.servers,
        "schema": notice or f"the schema {container.settings.schema!r} is as this version needs",
        "postgres": server["version"],
        "default timezone": _default_zone(container.settings),
        "time zone data": str(zone_data()),
        "clock skew": f"{skew:+.3f} s against Postgres",
        "partitions until": str(server["last_partition"]),
    }
    findings: list[dict[str, Any]] = list(lacking.findings)
    if notice is not None:
        findings.append({"kind": "schema", "subject": container.settings.schema, "detail": notice})
    if server["current_schema"] == container.settings.schema:
        findings.append({"kind": "search path", "subject": container.settings.schema, "detail": SHARES_SCHEMA})
    found = await audit.findings(overdue_seconds=container.settings.overdue_seconds)
    if (hold := await open_hold(container)) is not None:
        # By a clock that has jumped everything may be overdue or open for long, and every machine's clock wrong.
        found = [finding for finding in found if finding["kind"] not in ("overdue", "clock", "open transaction")]
        detail = f"planning has stopped: {describe_hold(hold)}; {WHAT_TO_DO}"
        found.append({"kind": "clock", "subject": "Postgres", "detail": detail})
    findings += found
    findings += await container.get_tables().findings(TableScheduler.families())
    if container.settings.timezone is None and (problem := host_zone().problem) is not None:
        findings.append({"kind": "timezone", "subject": "this host", "detail": problem})
    if hold is None and abs(skew) > SKEW_WARNING_SECONDS:
        findings.append({"kind": "clock", "subject": "this machine", "detail": f"{skew:+.1f} s off Postgres's clock"})
    try:
        status = await leader_status(container)
        facts["leader"] = status["instance_id"] or "nobody"
        facts["replicas"] = len(status["replicas"])
        if status["instance_id"] is None and status["replicas"]:
            findings.append({"kind": "leader", "subject": "-", "detail": "replicas live, and nobody leads"})
        findings += await lease_findings(container)
    except SchedulerError as error:
        findings.append({"kind": "redis", "subject": "-", "detail": str(error)})
    stored = await read_stored(container)
    findings += [
        {"kind": "unreadable", "subject": job_id, "detail": problem} for job_id, problem in stored.unreadable.items()
    ]
    if declared is None:
        findings += await audit.undeclared()
    else:
        findings += await _differing(container, stored, declared)
    return {"facts": facts, "findings": findings}


async def _differing(container: Container, stored: Stored, declared: Sequence[ScheduleJob]) -> list[dict[str, Any]]:
    """Where the stored jobs are not those of the code. A job that a command or a file added is no finding."""
    zone, executor = container.settings.default_timezone, container.settings.default_executor
    definitions = [job.definition(zone, default_executor=executor) for job in declared]
    names = {definition.job_id for definition in definitions}
    difference = compare(stored.definitions, definitions)
    found = [
        {"kind": "not stored", "subject": new.job_id, "detail": "code declares it, and no replica has stored it yet"}
        for new in difference.added
        if new.job_id not in stored.unreadable
    ]
    for edit in difference.edited:
        changes = "; ".join(f"{name}: {_say(old)}, in code {_say(new)}" for name, (old, new) in edit.fields.items())
        found.append({"kind": "differs", "subject": edit.new.job_id, "detail": changes})
    others = [job_id for job_id in stored.definitions if job_id not in names]
    for job_id, who in (await container.get_audit().declarers(others)).items():
        if who["by_code"] and not who["added_at_run_time"]:
            detail = f"code of {who['declared_by']} declared it, and this code does not: `jobs prune` removes it"
            found.append({"kind": "undeclared", "subject": job_id, "detail": detail})
    return found


def _say(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=plain, ensure_ascii=False)


def _default_zone(settings: Settings) -> str:
    """The zone of jobs that name none, and who says so."""
    if settings.timezone is not None:
        return f"{settings.timezone}, by the setting timezone"
    found = host_zone()
    return "unknown" if found.name is None else f"{found.name}, by {found.source}"
