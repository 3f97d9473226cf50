"""From stored definitions to a file that says the same, byte for byte the same every time.

Written with tomli-w, the counterpart of the parser that Python has as tomllib, whose stated aim is that what was
parsed and written again is unchanged. (tomlkit keeps the layout of a file that it edits, which is not needed here,
and takes more code to do it: https://github.com/python-poetry/tomlkit/issues/245 wrote keys that nobody could read.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any

import tomli_w

from scheduler_core.domain.jobs.callback import is_importable_reference
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.jobs.job_policies import POLICY
from scheduler_core.domain.wording import shown
from scheduler_core.jobs_file.fields import DEFAULTS, SCHEDULES, WHEN_STORED

HEAD = """\
# Jobs of scheduler-core, as `scheduler jobs export` writes them: docs/jobs-file.md.
# One table per job, fields as in ScheduleJob, durations in seconds; what is not here has its default.
# `scheduler jobs import FILE` shows what would change, and asks before it changes anything.
"""

_INT64 = 2**63


def dump_jobs(definitions: Iterable[JobDefinition]) -> str:
    """The file, in order of ids. A job whose callback is no importable name is left out, with a comment."""
    parts = [HEAD]
    # By code points: the order of a database's collation differs between hosts.
    for definition in sorted(definitions, key=lambda d: d.job_id):
        if is_importable_reference(definition.callback):
            parts.append(tomli_w.dumps({"jobs": {definition.job_id: table_of(definition)}}))
        else:
            parts.append(
                f"# Left out: the job {shown(definition.job_id)} calls {shown(definition.callback)}, which only the "
                "process that added it can call.\n"
            )
    return "\n".join(parts)


def table_of(definition: JobDefinition) -> dict[str, Any]:
    """A job's table: its fields in the order of the file, without those that have their default.

    The zone is always there: its default is a setting, and differs between hosts.
    """
    table: dict[str, Any] = {}
    if definition.name != definition.job_id:
        table["name"] = definition.name
    table |= _schedule(definition)
    table["callback"] = definition.callback
    for name in POLICY:
        value = getattr(definition, name)
        if value != DEFAULTS[name]:
            table[name] = _value(value)
    return table


def _schedule(definition: JobDefinition) -> dict[str, Any]:
    field = next(name for name, kind in SCHEDULES.items() if kind == definition.schedule_type)
    value: Any = definition.schedule_value
    if field == "once":
        value = WHEN_STORED if value is None else datetime.fromisoformat(value)
    elif field == "daily":
        times = [time.removesuffix(":00") if len(time) > 5 else time for time in value]
        value = times[0] if len(times) == 1 else times
    return {field: value}


def _value(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (tuple, list, dict)):
        plain = list(value) if isinstance(value, tuple) else value
        if _fits_toml(plain):
            return _sorted(plain)
        return json.dumps(plain, ensure_ascii=False, sort_keys=True)
    return value


def _fits_toml(value: Any) -> bool:
    """Whether TOML says it exactly: it knows no null, and promises 64 bits to an integer."""
    if isinstance(value, dict):
        return all(_fits_toml(item) for item in value.values())
    if isinstance(value, list):
        return all(_fits_toml(item) for item in value)
    if isinstance(value, int):
        return -_INT64 <= value < _INT64
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _sorted(value: Any) -> Any:
    """Keys in order: jsonb keeps another order than the code that declared the job."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
