"""`ports.Jobs`, and what of `ports.Runs` a verb on jobs asks: the storage, and the ledger of a test's scheduler."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.planning.planning import StoredJob, settlement
from scheduler_core.domain.runs.run import Origin
from scheduler_core.ports.runs import Settlement

from .conftest import Place

ME = Actor(Source.CODE, "me")


@pytest.fixture
def job_id(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


async def new_job(place: Place, job_id: str, **fields: Any) -> StoredJob:
    """As it begins now."""
    now = await place.jobs.now()
    definition = ScheduleJob(job_id, "J", "interval", 60, "app:f", **fields).definition("UTC")
    schedule = definition.schedule(now)
    first = schedule.first(now)
    return StoredJob(definition, 1, now, schedule, first, first)


async def stored(place: Place, job_id: str) -> StoredJob:
    (job,) = await place.jobs.load([job_id])
    assert isinstance(job, StoredJob)
    return job


async def added(place: Place, job_id: str, **fields: Any) -> StoredJob:
    await place.jobs.declare([await new_job(place, job_id, **fields)], "me", ME)
    return await stored(place, job_id)


async def settle(place: Place, job: StoredJob, *, remove: bool = False, **changes: Any) -> bool:
    now = await place.jobs.now()
    return await place.jobs.settle(Settlement(settlement(job, now, "paused"), changes, remove=remove), ME, now)


async def test_what_is_not_there_is_added(place: Place, job_id: str) -> None:
    job = await new_job(place, job_id)
    declared = await place.jobs.declare([job], "me", ME)
    assert ([one.job_id for one in declared.added], list(declared.changed)) == ([job_id], [])
    found = await stored(place, job_id)
    assert (found.definition, found.version, found.next_run) == (job.definition, 1, job.next_run)


async def test_the_same_again_is_no_news(place: Place, job_id: str) -> None:
    await added(place, job_id)
    declared = await place.jobs.declare([await new_job(place, job_id)], "me", ME)
    assert (list(declared.added), list(declared.changed)) == ([], [])


async def test_another_definition_is_told_of_and_changes_nothing(place: Place, job_id: str) -> None:
    before = await added(place, job_id)
    declared = await place.jobs.declare([await new_job(place, job_id, max_retries=7)], "me", ME)
    assert (list(declared.added), list(declared.changed)) == ([], [job_id])
    assert (await stored(place, job_id)).definition == before.definition


async def test_jobs_are_loaded_as_far_as_they_exist(place: Place, job_id: str) -> None:
    await added(place, job_id)
    assert [job.job_id for job in await place.jobs.load([job_id, "nobody's"])] == [job_id]


async def test_a_change_raises_the_version_by_one(place: Place, job_id: str) -> None:
    job = await added(place, job_id)
    assert await settle(place, job, max_retries=9)
    after = await stored(place, job_id)
    assert (after.version, after.definition.max_retries, after.next_run) == (2, 9, job.next_run)


async def test_a_change_of_what_has_changed_since_changes_nothing(place: Place, job_id: str) -> None:
    read = await added(place, job_id)
    assert await settle(place, read, max_retries=9)
    assert not await settle(place, read, max_retries=5)
    assert (await stored(place, job_id)).definition.max_retries == 9


async def test_a_change_of_what_has_moved_since_changes_nothing(place: Place, job_id: str) -> None:
    job = await added(place, job_id)
    elsewhere = replace(job, next_run=job.next_run + timedelta(seconds=60))  # type: ignore[operator]
    assert not await settle(place, elsewhere, max_retries=5)


async def test_what_is_removed_is_gone_for_whoever_has_read_it(place: Place, job_id: str) -> None:
    job = await added(place, job_id)
    assert await settle(place, job, remove=True)
    assert await place.jobs.load([job_id]) == []
    assert not await settle(place, job, max_retries=5)
    assert not await settle(place, job, remove=True)


async def test_a_job_that_comes_back_goes_on_counting(place: Place, job_id: str) -> None:
    assert await settle(place, await added(place, job_id), remove=True)
    version = (await added(place, job_id)).version
    assert await settle(place, await stored(place, job_id), remove=True)
    assert (await added(place, job_id)).version > version > 1


async def test_nothing_is_triggered_of_a_job_that_is_not_there(place: Place, job_id: str) -> None:
    assert await place.runs.trigger(job_id, Origin.TRIGGER) is None


async def test_a_trigger_is_a_run_for_now_under_the_id_that_is_given(place: Place, job_id: str) -> None:
    job, run_id, before = await added(place, job_id), uuid4(), await place.jobs.now()
    run = await place.runs.trigger(job_id, Origin.TRIGGER, run_id)
    assert run is not None
    assert (run.run_id, run.job_id, run.origin, run.definition_version) == (run_id, job_id, Origin.TRIGGER, job.version)
    assert before <= run.scheduled_for == run.due_at <= await place.jobs.now()


async def test_two_triggers_at_one_instant_are_two_runs(place: Place, job_id: str) -> None:
    """Somebody asked twice."""
    await added(place, job_id)
    now = await place.jobs.now()
    one, two = [await place.runs.trigger(job_id, Origin.TRIGGER, at=now) for _ in range(2)]
    assert one is not None
    assert two is not None
    assert one.scheduled_for == now < two.scheduled_for < now + timedelta(milliseconds=1)


async def test_two_reruns_at_one_instant_are_two_runs(shared_database_url: str, job_id: str) -> None:
    """Of the storage alone: the ledger has no reruns."""
    container = Container(load_settings(database_url=shared_database_url))
    storage = container.get_storage()
    await added(Place(jobs=storage.jobs, runs=storage.runs), job_id)
    run = await storage.runs.trigger(job_id, Origin.TRIGGER)
    assert run is not None
    await storage.requests.cancel(run.run_id, "me")
    now = await storage.jobs.now()
    answers = [await storage.requests.rerun(run.run_id, at=now) for _ in range(2)]
    assert len({answer.run.scheduled_for for answer in answers if answer is not None and answer.run is not None}) == 2
    await container.close()
