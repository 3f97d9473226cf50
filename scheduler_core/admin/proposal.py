"""What a command or a request would change of the stored jobs: worked out, shown to a person, carried out as shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from scheduler_core.admin.named_callbacks import doubt_of
from scheduler_core.container import Container
from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.errors import CallbackNotFoundError, InvalidJobError, JobConflictError
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.jobs_file.applying import apply
from scheduler_core.jobs_file.difference import Difference, compare, undeclared
from scheduler_core.jobs_file.reading import define
from scheduler_core.ports.runs import InvalidRow

CHUNK = 1_000
"""Jobs per statement."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The jobs in the database: those that can be read, and the ids of rows that can't."""

    definitions: dict[str, JobDefinition]
    unreadable: dict[str, str]
    added_at_run_time: set[str]
    """Those that running code has added."""

    @property
    def prunable(self) -> dict[str, JobDefinition]:
        """Those that a module or a file would declare; what running code has added, none does."""
        return {job_id: job for job_id, job in self.definitions.items() if job_id not in self.added_at_run_time}

    def require(self, job_ids: Iterable[str]) -> None:
        """Raises InvalidJobError if the row of one of them can't be read."""
        for job_id in job_ids:
            if job_id in self.unreadable:
                raise InvalidJobError(
                    f"the row of job {job_id!r} can't be read ({self.unreadable[job_id]}): correct it in SQL, or "
                    "delete it there"
                )


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would change, and what a person should know before saying yes."""

    difference: Difference
    notes: tuple[str, ...]


Propose = Callable[[Container], Awaitable[Proposal]]


async def propose_import(
    container: Container, jobs: Sequence[ScheduleJob], source: str, *, prune: bool, kept: Sequence[ScheduleJob] | None
) -> Proposal:
    """What would change so that the stored jobs are those of a file.

    Parameters: source, the file's name in errors; prune, whether jobs that neither the file nor `kept` declares are to
    go; kept, the jobs of a module, None: no module was named. Raises InvalidJobError.
    """
    settings = container.settings
    wanted = define(jobs, settings.default_timezone, source, default_executor=settings.default_executor)
    try:
        await container.get_calendars().check_jobs(wanted)
        await asyncio.to_thread(_check_arguments, container, wanted)
    except InvalidJobError as error:
        raise type(error)(f"{source}: {error}") from None
    stored = await read_stored(container)
    stored.require(definition.job_id for definition in wanted)
    doubts = await _check_callbacks(container, stored, wanted, source)
    gone: set[str] = set()
    if prune:
        ids = {job.job_id for job in (*jobs, *(kept or ()))}
        gone = undeclared(stored.prunable, ids, source=source, by_file_alone=kept is None)
    proposal = await annotate(container, compare(stored.definitions, wanted, removed=gone))
    return replace(proposal, notes=(*proposal.notes, *doubts))


async def _check_callbacks(
    container: Container, stored: Stored, wanted: Sequence[JobDefinition], source: str
) -> list[str]:
    """What to know of the names that are new in a job.

    Raises CallbackNotFoundError for one that leads to what none may reach.
    """
    standing = {definition.job_id: definition.callback for definition in stored.definitions.values()}
    new = {definition.callback for definition in wanted if standing.get(definition.job_id) != definition.callback}
    doubts = []
    for reference in sorted(new):
        try:
            doubt = await doubt_of(container, reference)
        except CallbackNotFoundError as error:
            raise type(error)(f"{source}: {error}") from None
        if doubt is not None:
            doubts.append(doubt)
    return doubts


def _check_arguments(container: Container, definitions: Iterable[JobDefinition]) -> None:
    for definition in definitions:
        container.check_arguments(definition)


async def carry_out(
    container: Container,
    propose: Propose,
    *,
    apply_it: bool,
    shown: Proposal | None = None,
    actor: Actor | None = None,
) -> Proposal:
    """Work out what would change and, if asked to, change it.

    Parameters: shown, what a person said yes to; actor, who changes it, the user of this process by default.
    Raises JobConflictError if that is no longer what would change.
    """
    proposal = await propose(container)
    if shown is not None and proposal.difference != shown.difference:
        raise JobConflictError("the jobs were changed by others meanwhile, so nothing was done: look again")
    if apply_it:
        await apply(proposal.difference, container.get_operations(actor))
        await _check_edits(container, proposal.difference)
    return proposal


async def _check_edits(container: Container, difference: Difference) -> None:
    """Raises JobConflictError if a job is not what it was changed to.

    A row that somebody edited in SQL, without its digest, looks to `declare` as if it were what it is to become.
    """
    wanted = {edit.new.job_id: edit.new.digest for edit in difference.edited}
    ids = list(wanted)
    for start in range(0, len(ids), CHUNK):
        for job in await container.get_storage().jobs.load(ids[start : start + CHUNK]):
            if isinstance(job, InvalidRow) or job.definition.digest != wanted[job.job_id]:
                raise JobConflictError(
                    f"job {job.job_id!r} is not what it was changed to: others change it too, or its row was edited "
                    "in SQL; remove the job and import again"
                )


async def read_stored(container: Container) -> Stored:
    """Every job in the database."""
    found = Stored({}, {}, set())
    last = ""
    while ids := await container.get_audit().job_ids(after=last, limit=CHUNK):
        for job in await container.get_storage().jobs.load(ids):
            if isinstance(job, InvalidRow):
                found.unreadable[job.job_id] = job.problem
            else:
                found.definitions[job.job_id] = job.definition
                if job.added_at_run_time:
                    found.added_at_run_time.add(job.job_id)
        last = ids[-1]
    return found


async def annotate(container: Container, difference: Difference) -> Proposal:
    """What is not seen in the difference itself."""
    now = datetime.now(UTC)
    rescheduled = [edit.new for edit in difference.edited if "once" in edit.fields]
    notes = [
        f"{new.job_id}: its instant is now or past, so it runs as soon as it is stored"
        for new in (*difference.added, *rescheduled)
        if new.schedule_type == ScheduleType.ONCE
        and new.enabled
        and (new.schedule_value is None or datetime.fromisoformat(new.schedule_value) <= now)
    ]
    touched = [edit.new.job_id for edit in difference.edited] + [old.job_id for old in difference.removed]
    removed = {old.job_id for old in difference.removed}
    declarers = await container.get_audit().declarers(touched) if touched else {}
    for job_id in touched:
        who = declarers.get(job_id)
        if who is None:
            continue
        if job_id in removed and who["alive"] is not None:
            notes.append(
                f"{job_id}: the living replica {who['alive']} can call it; if its code declares the job, its next "
                "start brings it back"
            )
        elif job_id in removed and not who["by_code"]:
            notes.append(f"{job_id}: added by a command ({who['declared_by']}), not by code")
        elif job_id not in removed and who["by_code"]:
            notes.append(f"{job_id}: code declares it ({who['declared_by']}); its next start brings code's back")
    return Proposal(difference, tuple(notes))
