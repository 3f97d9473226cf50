"""What would have to change so that the stored jobs are those of a file, or of a module."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.callback import is_importable_reference
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.jobs_file.fields import DEFAULTS, SCHEDULES
from scheduler_core.jobs_file.writing import table_of


@dataclass(frozen=True, slots=True)
class Edit:
    """One stored job that is to be another."""

    old: JobDefinition
    new: JobDefinition

    @property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """field of the file → (old, new); a schedule of another kind is two fields, and None where it is not."""
        before, after = _whole(self.old), _whole(self.new)
        names = [name for name in {**after, **before} if _text(before.get(name)) != _text(after.get(name))]
        return {name: (before.get(name), after.get(name)) for name in names}


@dataclass(frozen=True, slots=True)
class Difference:
    """Jobs to add, to change and to remove, by id; how many stay as they are."""

    added: tuple[JobDefinition, ...]
    edited: tuple[Edit, ...]
    removed: tuple[JobDefinition, ...]
    unchanged: int

    def __len__(self) -> int:
        return len(self.added) + len(self.edited) + len(self.removed)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "added": [{"job_id": new.job_id, "fields": table_of(new)} for new in self.added],
            "changed": [
                {
                    "job_id": edit.new.job_id,
                    "fields": {name: {"old": old, "new": new} for name, (old, new) in edit.fields.items()},
                }
                for edit in self.edited
            ],
            "removed": [{"job_id": old.job_id, "fields": table_of(old)} for old in self.removed],
            "unchanged": self.unchanged,
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """For people: a row per field that comes, goes or changes."""
        for new in self.added:
            for name, value in table_of(new).items():
                yield {"change": "added", "job_id": new.job_id, "field": name, "old": None, "new": value}
        for edit in self.edited:
            for name, (before, after) in edit.fields.items():
                yield {"change": "changed", "job_id": edit.new.job_id, "field": name, "old": before, "new": after}
        for old in self.removed:
            schedule = next((name, value) for name, value in table_of(old).items() if name in SCHEDULES)
            yield {"change": "removed", "job_id": old.job_id, "field": schedule[0], "old": schedule[1], "new": None}


def compare(
    stored: Mapping[str, JobDefinition], wanted: Sequence[JobDefinition], *, removed: Collection[str] = ()
) -> Difference:
    """The difference between what is stored, by id, and what is wanted; `removed` are stored ids that are to go."""
    added, edited, unchanged = [], [], 0
    for new in sorted(wanted, key=lambda d: d.job_id):
        old = stored.get(new.job_id)
        if old is None:
            added.append(new)
        # By digest: to Python, 1, 1.0 and True are equal.
        elif old.digest != new.digest:
            edited.append(Edit(old, new))
        else:
            unchanged += 1
    gone = tuple(stored[job_id] for job_id in sorted(removed))
    return Difference(tuple(added), tuple(edited), gone, unchanged)


def undeclared(
    stored: Mapping[str, JobDefinition], declared: Collection[str], *, source: str, by_file_alone: bool
) -> set[str]:
    """The stored ids that are not among the declared ones.

    Parameters: source, what declares, for messages; by_file_alone, whether only a file speaks: it can't name a
    lambda or a local function, so that a job that calls one is not missing from it.
    Raises InvalidJobError if nothing is declared: that is a mistake rather than a wish to remove every job.
    """
    if stored and not declared:
        raise InvalidJobError(f"{source} declares no job: pruning would remove all {len(stored)}, so nothing is done")
    return {
        job_id
        for job_id, definition in stored.items()
        if job_id not in declared and not (by_file_alone and not is_importable_reference(definition.callback))
    }


def _whole(definition: JobDefinition) -> dict[str, Any]:
    return {"name": definition.name, **DEFAULTS, **table_of(definition)}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
