"""From a file to jobs. Whatever stands in it: jobs, or one line that names file, line, job and field."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.checks import CHECKS
from scheduler_core.domain.jobs.job import STATE_FIELDS, JobDefinition, ScheduleJob
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.domain.wording import did_you_mean, shown
from scheduler_core.jobs_file.fields import FIELDS, SCHEDULES, WHEN_STORED
from scheduler_core.jobs_file.places import line_of

MOST_BYTES = 16 * 1024 * 1024
"""About 100,000 jobs, and a quarter of a minute to read and check them. More is some other file."""

_MOST_KEY_PARTS = 1_000
_KEY_PART = re.compile(r"""(?:[\w-]+|"[^"]*"|'[^']*')[ \t]*(\.?)[ \t]*|.""", re.ASCII | re.DOTALL)


def load_jobs(path: str | os.PathLike[str]) -> list[ScheduleJob]:
    """The jobs that a file declares (docs/jobs-file.md), for `add_jobs`.

    Callbacks are names in a file; adding the jobs allows this process to call them.

    Args:
        path: A TOML file, of 16 MiB at most.

    Returns:
        The jobs, in the file's order.

    Raises:
        InvalidJobError: Anything in it is wrong, or it can't be read. The message names file, line, job and field;
            there are no jobs then.
    """
    return parse_jobs(read_file(path), plain_name(path))


def plain_name(path: str | os.PathLike[str]) -> str:
    """A path as messages show it: on one line."""
    return "".join(char if char.isprintable() else "?" for char in os.fsdecode(path))


def read_file(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes, at most MOST_BYTES. Raises InvalidJobError: no regular file, too large, not readable."""
    name = plain_name(path)
    try:
        # Non-blocking: a pipe that nobody writes to must not hold us up before it is found to be no file.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidJobError(f"{name} is no regular file: name a TOML file, or `-` for standard input")
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidJobError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidJobError(f"{name} can't be read ({reason}): name a TOML file") from None
    return check_size(content, name)


def check_size(content: bytes, name: str) -> bytes:
    """`content` itself. Raises InvalidJobError if it is larger than MOST_BYTES."""
    if len(content) > MOST_BYTES:
        raise InvalidJobError(
            f"{name} is larger than {MOST_BYTES // 2**20} MiB: is it a file of jobs? Split it, if it is"
        )
    return content


def parse_jobs(content: bytes, source: str) -> list[ScheduleJob]:
    """The jobs that TOML text in UTF-8 declares. `source` is its name in messages. Raises InvalidJobError."""
    text = _decode(content, source)
    tables = _tables(_parse(text, source), source)
    jobs: list[ScheduleJob] = []
    problems: list[str] = []
    for job_id, table in tables.items():
        try:
            jobs.append(_job(job_id, table))
        except InvalidJobError as error:
            if not problems:
                line = line_of(text, job_id, _culprit(error, table))
                problems.append(f"{source}{'' if line is None else f', line {line}'}: {error}")
            else:
                problems.append("")
    if problems:
        more = "" if len(problems) == 1 else f" ({len(problems) - 1} more of its jobs can't be accepted either.)"
        raise InvalidJobError(problems[0] + more)
    return jobs


def define(
    jobs: Sequence[ScheduleJob], default_timezone: str, source: str, *, default_executor: str = LOCAL
) -> list[JobDefinition]:
    """What is to be stored of the jobs. `default_timezone` is an IANA name. Raises InvalidJobError."""
    definitions = []
    for job in jobs:
        try:
            definitions.append(job.definition(default_timezone, default_executor=default_executor))
        except InvalidJobError as error:
            raise InvalidJobError(f"{source}: the job {shown(job.job_id)} can't be accepted: {error}") from None
    return definitions


class _FieldError(InvalidJobError):
    """A problem of which the field is known."""

    def __init__(self, job_id: str, field: str | None, problem: str) -> None:
        where = "" if field is None else f"{field}: "
        super().__init__(f"The job {shown(job_id)} can't be accepted: {where}{problem}.")
        self.field = field


def _decode(content: bytes, source: str) -> str:
    try:
        # Editors of Windows begin a file with a byte order mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidJobError(f"{source}, line {line}: this is no UTF-8: save the file in UTF-8") from None
    for number, line_text in enumerate(text.split("\n"), start=1):
        # tomllib takes the square of a key's parts: a million of them would keep it busy for minutes.
        if line_text.count(".") > _MOST_KEY_PARTS and _longest_key(line_text) > _MOST_KEY_PARTS:
            raise InvalidJobError(f"{source}, line {number}: a key has over {_MOST_KEY_PARTS} parts: shorten it")
    return text


def _longest_key(line: str) -> int:
    longest = parts = 0
    for match in _KEY_PART.finditer(line):
        parts = parts + 1 if match[1] else 0
        longest = max(longest, parts)
    return longest


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidJobError(f"{source} can't be read as TOML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InvalidJobError(f"{source} nests values too deep: write them flatter") from None
    except ValueError:
        # What tomllib hands through: Python reads no longer integers, and years end at 9999.
        raise InvalidJobError(f"{source} holds a number or date that is out of range: correct it") from None


def _tables(document: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    for key in document:
        if key != "jobs":
            raise InvalidJobError(
                f"{source}: there is no {shown(key)} in a file of jobs{did_you_mean(key, ['jobs'])}: "
                "each job is a table [jobs.ID]"
            )
    tables = document.get("jobs", {})
    if not isinstance(tables, dict):
        raise InvalidJobError(f"{source}: 'jobs' can't be {shown(tables)}: each job is a table [jobs.ID]")
    return tables


def _job(job_id: str, table: Any) -> ScheduleJob:
    if not isinstance(table, dict):
        raise _FieldError(job_id, None, f"it can't be {shown(table)}, give a table [jobs.ID] with its fields")
    fields = dict(table)
    _check_names(job_id, fields)
    schedules = [name for name in SCHEDULES if name in fields]
    if len(schedules) != 1:
        which = f"has {' and '.join(schedules)}" if schedules else "has none"
        raise _FieldError(job_id, None, f"it needs exactly one of {', '.join(SCHEDULES)}, and {which}")
    if "callback" not in fields:
        raise _FieldError(job_id, "callback", "is missing, give what to call as 'module:function'")
    schedule = schedules[0]
    value = _moment(fields.pop(schedule))
    if schedule == "once" and isinstance(value, str) and value.lower() == WHEN_STORED:
        value = None
    for name in ("args", "kwargs"):
        if isinstance(fields.get(name), str):
            fields[name] = _json(job_id, name, fields[name])
    for name in ("start_at", "end_at"):
        if name in fields:
            fields[name] = _moment(fields[name])
    try:
        return ScheduleJob(
            job_id=job_id,
            name=fields.pop("name", job_id),
            schedule_type=SCHEDULES[schedule],
            schedule_value=value,
            **fields,
        )
    except InvalidJobError as error:
        # The file has no field of that name.
        raise InvalidJobError(str(error).replace(" schedule_value: ", f" {schedule}: ", 1)) from None


def _check_names(job_id: str, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name in FIELDS:
            continue
        if name in STATE_FIELDS:
            raise _FieldError(job_id, name, "is state, which the database holds, remove it")
        if name == "job_id":
            raise _FieldError(job_id, name, "the id is the name of the table, remove it")
        if name in {"schedule_type", "schedule_value"}:
            raise _FieldError(job_id, name, f"a file says when by one of {', '.join(SCHEDULES)}")
        hint = did_you_mean(name, FIELDS)
        if not hint and isinstance(value, dict):
            hint = ' (if it belongs to the id: write an id with dots in quotes, as [jobs."a.b"])'
        raise _FieldError(job_id, shown(name), f"there is no such field{hint}, correct or remove it")


def _moment(value: Any) -> Any:
    """A date of TOML is its midnight, as it is in an ISO string."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a wall time in the job's zone
    return value


def _json(job_id: str, name: str, text: str) -> Any:
    """What TOML can't say is said in a string, as JSON: null, and integers beyond 64 bits."""
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        kind = "an array" if name == "args" else "a table"
        raise _FieldError(job_id, name, f"{shown(text)} is no JSON ({error}), give {kind}, or JSON text") from None


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _culprit(error: InvalidJobError, table: Any) -> str | None:
    """The field that the first problem is in; None if it can't be told."""
    if isinstance(error, _FieldError):
        return error.field
    for name, value in table.items():
        check = CHECKS.get(name)
        try:
            if check is not None and not (name in {"args", "kwargs"} and isinstance(value, str)):
                check(_moment(value))
        except ValueError:
            return str(name)
    return next((name for name in (*SCHEDULES, *table) if f" {name}: " in str(error) and name in table), None)
