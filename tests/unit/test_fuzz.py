"""Anything at all is a job that stays what it is, or one clear error. The same anythings on every run."""
# ruff: noqa: PT017 - most anythings are refused, and what the refusal says is what is looked at

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from itertools import islice
from random import Random
from typing import Any

import pytest
from fuzzing import ANYTHING, TEXTS, definition

from scheduler_core.domain.errors import InvalidJobError, InvalidScheduleError
from scheduler_core.domain.jobs.checks import CHECKS
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob

FIELDS = [item.name for item in fields(JobDefinition)]


def columns_of(made: JobDefinition) -> dict[str, Any]:
    """As `storage` writes them, in JSON, and as they come back."""
    columns = {name: getattr(made, name) for name in FIELDS}
    text = json.dumps(columns, default=datetime.isoformat, allow_nan=False)
    read: dict[str, Any] = json.loads(text)
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()
    return read


def is_clear(error: InvalidJobError) -> bool:
    text = str(error)
    text.encode()
    return len(text.splitlines()) == 1 and 10 < len(text) < 5000


@pytest.mark.parametrize("part", range(4))
def test_any_definition_is_refused_or_kept(part: int) -> None:
    random, seen = Random(f"definitions {part}"), Counter[str]()
    for _ in range(1000):
        given = definition(random)
        try:
            made = ScheduleJob(**given).definition("Europe/Berlin")
        except InvalidJobError as error:
            assert is_clear(error), given
            seen["refused"] += 1
        else:
            kept = JobDefinition.from_columns(columns_of(made))
            assert kept == made, given
            assert (kept.digest, kept.schedule_digest) == (made.digest, made.schedule_digest)
            seen["kept"] += 1
    assert min(seen["refused"], seen["kept"]) > 200


@pytest.mark.parametrize("name", [*CHECKS, "no_such_field"])
def test_every_field_survives_anything(name: str) -> None:
    base = {"job_id": "a", "name": "A", "schedule_type": "cron", "schedule_value": "0 9 * * *", "callback": "app:work"}
    for kind in ("interval", "daily", "once", "cron"):
        for value in ANYTHING:
            try:
                ScheduleJob(**{**base, "schedule_type": kind, name: value}).definition("UTC")
            except InvalidJobError as error:
                assert is_clear(error), value
        if name != "schedule_value":
            break


def test_any_assignment_is_refused_or_kept() -> None:
    random = Random("assignments")
    for _ in range(600):
        job = ScheduleJob("a", "A", "interval", 30, "app:work")
        before = job.model_copy()
        name, value = random.choice([*CHECKS, "no_such"]), random.choice(ANYTHING)
        try:
            setattr(job, name, value)
        except InvalidJobError as error:
            assert is_clear(error), (name, value)
            assert job == before


def test_a_row_that_was_edited_by_hand_is_refused_or_kept() -> None:
    random, seen = Random("rows"), Counter[str]()
    rows = list(islice(valid_rows(random), 200))
    for _ in range(3000):
        columns = dict(random.choice(rows))
        for name in random.sample(FIELDS, random.choice((1, 1, 2, 3))):
            columns[name] = random.choice(ANYTHING)
        if random.random() < 0.1:
            del columns[random.choice(FIELDS)]
        try:
            made = JobDefinition.from_columns(columns)
        except InvalidJobError as error:
            assert is_clear(error), columns
            seen["refused"] += 1
        else:
            assert JobDefinition.from_columns(columns_of(made)) == made
            made.schedule(datetime.fromisoformat("2026-01-01T00:00:00Z"))
            seen["kept"] += 1
    assert min(seen["refused"], seen["kept"]) > 100


def valid_rows(random: Random) -> Iterator[dict[str, Any]]:
    while True:
        with suppress(InvalidJobError):
            yield columns_of(ScheduleJob(**definition(random)).definition("UTC"))


def test_only_the_schedule_is_to_blame() -> None:
    for value in TEXTS:
        for kind in ("interval", "daily", "once", "cron"):
            try:
                ScheduleJob("a", "A", kind, value, "app:work")
            except InvalidJobError as error:
                assert isinstance(error, InvalidScheduleError), (kind, value)
