"""Calendars on real servers: what they exclude is skipped and accounted for, and a change of one counts at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import (
    Calendar,
    CalendarInUseError,
    CalendarNotFoundError,
    Container,
    InvalidJobError,
    ScheduleJob,
    SchedulerService,
    load_settings,
)
from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.planning.planning import plan
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Leadership
from scheduler_core.storage.jobs import calendars as calendars_module

Sql = psycopg.Connection[Any]

STEP = 0.5

# Every occurrence before the cursor, against what stands in rows for the job of an interval of STEP seconds.
ACCOUNTED = """
SELECT round(extract(epoch FROM j.next_run - j.anchor) / %(step)s) - 1,
       (SELECT coalesce(sum(coalesce(missed_count, 1)), 0) FROM scheduler_audit.runs r WHERE r.job_id = j.job_id)
FROM scheduler.jobs j WHERE j.job_id = %(job_id)s
"""


def this_week(name: str = "c") -> Calendar:
    """Excludes today, whenever the test runs."""
    today = datetime.now(UTC).date()
    return Calendar(name, {today + timedelta(days=n): "closed" for n in range(-2, 3)})


def ticking(callback: Any, *calendars: str) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", STEP, callback, calendars=calendars, overlap="allow")


async def rows(sql: Sql, status: str, reason: str | None = None, count: int = 1) -> list[Any]:
    """Wait for so many rows of this status and reason."""

    async def ask() -> list[Any] | None:
        found = sql.execute(
            "SELECT scheduled_for, missed_count, missed_from, finished_at FROM scheduler_audit.runs "
            "WHERE status = %s AND reason IS NOT DISTINCT FROM %s ORDER BY scheduled_for",
            [status, reason],
        ).fetchall()
        return found if len(found) >= count else None

    found = await eventually_async(ask, what=f"{count} rows {status} {reason}")
    assert found is not None
    return found


def assert_accounted(sql: Sql) -> None:
    expected, counted = sql.execute(ACCOUNTED, {"step": STEP, "job_id": "j"}).fetchone()  # type: ignore[misc]
    assert counted == expected


async def test_a_job_that_is_excluded_today_is_skipped_and_says_so(scheduler: BaseScheduler, sql: Sql) -> None:
    called: list[int] = []
    await scheduler.add_calendar(this_week())
    await scheduler.add_job(ScheduleJob("j", "J", "once", None, lambda: called.append(1), calendars=["c"]))
    ((_, count, first, finished),) = await rows(sql, "skipped", "calendar")
    assert (count, first) == (None, None), "a row of its own"
    assert finished is not None
    assert called == []
    assert sql.execute("SELECT next_run, finished_at IS NOT NULL FROM scheduler.jobs").fetchone() == (None, True)
    assert sql.execute("SELECT runs, skipped, missed FROM scheduler_audit.daily_summary").fetchall() == [(1, 1, 0)]


async def test_a_calendar_that_allows_again_counts_at_once(scheduler: BaseScheduler, sql: Sql) -> None:
    """The job was to be looked at in a minute: the change has the leader look now."""
    called: list[int] = []
    await scheduler.add_calendar(this_week())
    await scheduler.add_job(ticking(lambda: called.append(1), "c"))
    await rows(sql, "skipped", "calendar")
    (waits,) = sql.execute("SELECT due_at > next_run FROM scheduler.jobs").fetchone()  # type: ignore[misc]
    assert waits, "what lies within a minute is counted together"
    assert called == []
    await scheduler.add_calendar(Calendar("c"))
    await rows(sql, "succeeded", count=3)
    assert_accounted(sql)


async def test_a_calendar_that_comes_to_exclude_counts_for_what_is_not_claimed(
    scheduler: BaseScheduler, sql: Sql
) -> None:
    await scheduler.add_calendar(Calendar("c"))
    await scheduler.add_job(ticking(lambda: None, "c"))
    await rows(sql, "succeeded", count=2)
    # By hand: the leader compares what stands there and not what it was told.
    sql.execute(
        "UPDATE scheduler.calendars SET excluded_periods = %s", ['[["2020-01-01T00:00Z", "2100-01-01T00:00Z"]]']
    )
    ((skipped, *_),) = await rows(sql, "skipped", "calendar")
    (last,) = sql.execute("SELECT max(scheduled_for) FROM scheduler_audit.runs WHERE status <> 'skipped'").fetchone()  # type: ignore[misc]
    assert last < skipped
    assert_accounted(sql)


async def test_a_job_whose_calendar_is_gone_waits_and_loses_nothing(
    scheduler: BaseScheduler, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    await scheduler.add_calendar(Calendar("c"))
    await scheduler.add_job(ticking(lambda: None, "c"))
    await rows(sql, "succeeded", count=2)
    sql.execute("DELETE FROM scheduler.calendars")
    await eventually_async(lambda: "its calendars 'c' are missing" in caplog.text, what="an error in the log, once")
    waiting = "SELECT due_at > next_run + interval '5 s' FROM scheduler.jobs"
    await eventually_async(lambda: sql.execute(waiting).fetchone() == (True,), what="waiting")
    (before,) = sql.execute("SELECT count(*) FROM scheduler.runs").fetchone()  # type: ignore[misc]
    assert_accounted(sql)
    await scheduler.add_calendar(Calendar("c", note="again"))
    await rows(sql, "succeeded", count=before + 1)
    assert caplog.text.count("are missing") == 1
    assert_accounted(sql)


async def test_a_calendar_that_changes_while_its_jobs_are_read_is_not_remembered_as_it_was(
    scheduler: BaseScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scheduler.add_calendar(Calendar("c"))
    await scheduler.add_job(ScheduleJob("j", "J", "interval", 3600, lambda: None, calendars=["c"]))
    jobs, load, reads = scheduler.running.context.storage.jobs, scheduler.running.context.storage.jobs.load, []

    async def overtaken(job_ids: Any) -> Any:
        found = await load(job_ids)
        reads.append(found)
        if len(reads) == 1:
            scheduler.running.jobs.observe_calendars("the loop has seen another revision meanwhile")
        return found

    monkeypatch.setattr(jobs, "load", overtaken)
    await scheduler.running.jobs.load(["j"])
    assert len(reads) >= 2
    assert scheduler.running.jobs.get("j") is reads[-1][0]


async def test_an_unreadable_calendar_is_as_good_as_none(container: Container, sql: Sql) -> None:
    await container.prepare()
    await container.get_calendars().put(Calendar("c"))
    sql.execute("UPDATE scheduler.calendars SET excluded_weekdays = '{caturday}'")
    assert await container.get_storage().calendars.load() == {}
    with pytest.raises(CalendarNotFoundError, match="'c'"):
        await container.get_calendars().get("c")
    assert await container.get_calendars().put(Calendar("c")), "replaced as a whole"
    assert (await container.get_calendars().get("c")) == Calendar("c")


async def test_a_job_that_names_no_calendar_that_exists_is_refused_and_told_how(container: Container, sql: Sql) -> None:
    await container.prepare()
    await container.get_calendars().put(Calendar("holidays"))
    job = ScheduleJob("j", "J", "daily", "12:00", "app:f", calendars=["hollidays"]).definition("UTC")
    with pytest.raises(InvalidJobError, match=r"did you mean 'holidays'.*scheduler calendars add hollidays"):
        await container.get_operations().declare([job])
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)


async def test_calendars_added_before_the_start_are_stored_before_the_jobs(database_url: str, redis_url: str) -> None:
    SchedulerService.init(settings=load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC"))
    try:
        await SchedulerService.add_job(ScheduleJob("j", "J", "daily", "12:00", "app:f", calendars=["c"]))
        await SchedulerService.add_calendar(this_week())
        await SchedulerService.start()
        assert await SchedulerService.fetch_calendar("c") == this_week()
        with pytest.raises(CalendarInUseError, match="'j'"):
            await SchedulerService.remove_calendar("c")
        await SchedulerService.remove_job("j")
        await SchedulerService.remove_calendar("c")
        with pytest.raises(CalendarNotFoundError):
            await SchedulerService.fetch_calendar("c")
    finally:
        await SchedulerService.shutdown()


async def test_a_calendar_survives_the_table_and_a_change_is_a_new_revision(container: Container, sql: Sql) -> None:
    await container.prepare()
    calendars, operations = container.get_storage().calendars, container.get_calendars()
    whole = Calendar(
        "名前 'c'",
        {"2026-12-25": "Erster Weihnachtstag", "2027-01-01": ""},
        ["sat", "sun"],
        [("2026-12-24T18:00+01:00", "2026-12-27T06:00:00.000001+01:00")],
        note="n",
    )
    seen = [await calendars.revision()]
    assert await operations.put(whole)
    assert await operations.get(whole.name) == whole
    seen.append(await calendars.revision())
    assert not await operations.put(whole), "the same again is no change"
    assert await calendars.revision() == seen[-1]
    await operations.extend(Calendar(whole.name, ["2026-12-26"]))
    seen.append(await calendars.revision())
    assert await operations.reduce(Calendar(whole.name, ["2026-12-26"])) == whole
    seen.append(await calendars.revision())
    sql.execute("UPDATE scheduler.calendars SET note = 'by hand'")
    seen.append(await calendars.revision())
    await operations.remove(whole.name)
    seen.append(await calendars.revision())
    await operations.put(whole)
    seen.append(await calendars.revision())
    assert len(set(seen)) == len(seen) - 1, "only two are the same: those without any calendar"


async def test_of_two_changes_at_once_neither_is_lost(container: Container) -> None:
    actor = Actor(Source.CLI, "somebody")
    await container.prepare()
    operations, stored = container.get_calendars(), container.get_storage().calendars
    assert await stored.save(Calendar("c", ["2026-01-01"]), version=0, actor=actor)
    assert not await stored.save(Calendar("c", ["2026-01-02"]), version=0, actor=actor), "somebody was faster"
    assert not await stored.save(Calendar("c", ["2026-01-02"]), version=7, actor=actor)
    await operations.extend(Calendar("c", ["2026-01-02"]))
    assert len((await operations.get("c")).excluded_dates) == 2


async def test_a_calendar_wakes_only_the_jobs_that_it_keeps_waiting(container: Container, sql: Sql) -> None:
    await container.prepare()
    operations = container.get_calendars()
    for name in ("c", "other"):
        await operations.put(Calendar(name))
    jobs = {"waits": ["c"], "jittered": ["c"], "paused": ["c"], "elsewhere": ["other"]}
    for job_id, names in jobs.items():
        jitter = 30 if job_id == "jittered" else 0
        definition = ScheduleJob(job_id, "J", "interval", 60, "app:f", calendars=names, jitter=jitter).definition("UTC")
        await container.get_operations().declare([definition])
    await container.get_operations().pause("paused")
    sql.execute("UPDATE scheduler.jobs SET due_at = next_run + interval '29 s' WHERE job_id <> 'paused'")
    sql.execute("UPDATE scheduler.jobs SET due_at = next_run + interval '1 day' WHERE job_id = 'paused'")
    before = dict(sql.execute("SELECT job_id, version FROM scheduler.jobs").fetchall())
    await operations.put(this_week())
    after = dict(sql.execute("SELECT job_id, version FROM scheduler.jobs").fetchall())
    assert {job_id for job_id in jobs if after[job_id] != before[job_id]} == {"waits"}
    assert sql.execute("SELECT due_at = next_run FROM scheduler.jobs WHERE job_id = 'waits'").fetchone() == (True,)


async def test_a_count_is_claimed_in_one_row_of_its_kind(container: Container, sql: Sql) -> None:
    """A catch-up over excluded days: rows that stand for many, with the status that says it was meant."""
    await container.prepare()
    sql.execute("UPDATE scheduler.leader SET term = 7, nonce = 'n', instance_id = 'me'")
    await container.get_calendars().put(Calendar.business_days("c"))
    job = ScheduleJob("j", "J", "interval", 3600, "app:f", calendars=["c"], start_at="2026-03-06T12:00Z")
    await container.get_operations().declare([job.definition("UTC")])
    sql.execute("UPDATE scheduler.jobs SET next_run = '2026-03-06T12:00Z', due_at = '2026-03-06T12:00Z'")
    (found,) = await container.get_storage().jobs.load(["j"])
    made = plan(found, datetime(2026, 3, 9, 0, 30, tzinfo=UTC))  # type: ignore[arg-type]
    await container.get_storage().runs.claim(Leadership(7, "n", "me"), [made], uncallable=False)
    assert sql.execute(
        "SELECT status, reason, missed_count, finished_at IS NULL FROM scheduler.runs ORDER BY scheduled_for"
    ).fetchall() == [
        ("missed", "misfire", 12, False),
        ("skipped", "calendar", 48, False),
        ("pending", None, None, True),
    ]
    summary = sql.execute("SELECT sum(runs), sum(skipped), sum(missed) FROM scheduler_audit.daily_summary").fetchone()
    assert summary == (49, 48, 12)


async def test_an_edit_accounts_for_what_the_calendar_excluded(container: Container, sql: Sql) -> None:
    await container.prepare()
    await container.get_calendars().put(this_week())
    job = ScheduleJob("j", "J", "interval", 60, "app:f", calendars=["c"])
    operations = container.get_operations()
    await operations.declare([job.definition("UTC")])
    sql.execute("UPDATE scheduler.jobs SET next_run = next_run - interval '3 min', anchor = anchor - interval '3 min'")
    await operations.declare([ScheduleJob("j", "J", "interval", 90, "app:f").definition("UTC")])
    assert sql.execute("SELECT status, reason, missed_count FROM scheduler.runs").fetchall() == [
        ("skipped", "calendar", 3)
    ]


WAKING = "AND due_at > next_run + make_interval(secs => jitter)"


async def test_without_the_waking_a_change_would_wait(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the test above can be taken away, and then the job sleeps on."""
    assert WAKING in calendars_module.SAVE
    monkeypatch.setattr(calendars_module, "SAVE", calendars_module.SAVE.replace(WAKING, "AND false"))
    await container.prepare()
    await container.get_calendars().put(this_week())
    await container.get_operations().declare([ticking("app:f", "c").definition("UTC")])
    sql.execute("UPDATE scheduler.jobs SET due_at = next_run + interval '1 minute'")
    await container.get_calendars().put(Calendar("c"))
    assert sql.execute("SELECT due_at = next_run FROM scheduler.jobs").fetchone() == (False,)
