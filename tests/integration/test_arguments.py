"""A job's arguments on their way through Postgres: what one process declares is what every process calls with."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from apps import arguments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_values import exactly, json_values
from waiting import eventually_async
from web_clients import with_token

from scheduler_core import Container, InvalidArgumentsError, ScheduleJob, load_settings
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.jobs.json_value import as_jsonb, size_in_bytes
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.testing import ManualScheduler
from scheduler_core.web import create_app
from scheduler_core.web.pages.edit import as_text

Sql = psycopg.Connection[Any]

AS_POSTGRES_HAS_IT = "SELECT CAST(CAST(%s AS jsonb) AS text)"


@given(st.lists(json_values(), min_size=1, max_size=20))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_is_what_jsonb_gives_back(sql: Sql, values: list[Any]) -> None:
    """Keys in the same order, numbers of the same kind, and a size that is true to the byte."""
    row = sql.execute(AS_POSTGRES_HAS_IT, [json.dumps(values)]).fetchone()
    assert row is not None
    kept = as_jsonb(values)
    assert exactly(kept) == exactly(json.loads(row[0]))
    assert size_in_bytes(kept) == len(row[0].encode())


STRICT = "apps.arguments:strict"
WRONG = {"too": "a", "since": "tomorrow"}
TOLD = (
    r"apps\.arguments:strict\(to, since=\.\.\., \*, limit=\.\.\.\) takes no 'too' \(did you mean 'to'\?\)",
    r"needs to: give it in args or kwargs \(given: 'too', 'since'\)",
    r"value\['since'\] is 'tomorrow', which can't be read as .*datetime",
)


@pytest.fixture
async def allowing(database_url: str, redis_url: str) -> AsyncIterator[Container]:
    """A container that may import the callbacks of apps.arguments."""
    made = Container(
        load_settings(
            database_url=database_url, redis_url=redis_url, timezone="UTC", allowed_callbacks=["apps.arguments"]
        )
    )
    yield made
    await made.close()


def strict_job(callback: Any = STRICT, **kwargs: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", 3600, callback, kwargs=kwargs)


def tells(text: str) -> bool:
    return "\n" not in text.strip() and all(re.search(pattern, text) for pattern in TOLD)


def stored(sql: Sql) -> Any:
    return sql.execute("SELECT kwargs FROM scheduler.jobs WHERE job_id = 'j'").fetchone()


async def test_code_is_told_at_once_whether_it_names_the_callback_or_has_it(container: Container, sql: Sql) -> None:
    with pytest.raises(InvalidArgumentsError) as caught:
        strict_job(arguments.strict, **WRONG)
    assert tells(str(caught.value))
    scheduler = await container.start()
    with pytest.raises(InvalidArgumentsError) as caught:
        await scheduler.add_job(strict_job(**WRONG))
    assert tells(str(caught.value))
    async with ManualScheduler() as manual:
        with pytest.raises(InvalidArgumentsError):
            await manual.add_job(strict_job(**WRONG))
    assert stored(sql) is None
    await scheduler.add_job(strict_job(to="a", since="2026-11-23T12:00:00Z"))
    assert stored(sql) is not None


async def test_what_was_added_before_the_start_is_refused_at_the_start(container: Container, sql: Sql) -> None:
    await container.get_scheduler().add_job(strict_job(**WRONG))
    with pytest.raises(InvalidArgumentsError):
        await container.start()
    assert stored(sql) is None


async def test_a_callback_that_is_not_here_is_checked_where_it_is(container: Container, sql: Sql) -> None:
    scheduler = await container.start()
    await scheduler.add_job(strict_job("nowhere.at.all:work", **WRONG))
    assert stored(sql) == (WRONG,)


async def test_what_only_a_decorator_can_know_is_doubted(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    @functools.wraps(arguments.strict)
    def adds_to(*args: Any, **kwargs: Any) -> None:
        arguments.strict("a", *args, **kwargs)

    scheduler = await container.start()
    await scheduler.add_job(strict_job(adds_to))
    assert [r.getMessage() for r in caplog.records if "unless what wraps the function adds it" in r.getMessage()] == [
        "job 'j': apps.arguments:strict(to, since=..., *, limit=...) needs to: give it in args or kwargs "
        "(given: nothing); every run fails, unless what wraps the function adds it"
    ]


async def test_the_api_and_the_dashboard_refuse_what_can_not_be_called(allowing: Container, sql: Sql) -> None:
    await allowing.prepare()
    _, secret = await allowing.get_tokens().create("operator", Scope.OPERATOR, days=1, by="tests")
    body = {"job_id": "j", "schedule_type": "interval", "schedule_value": 3600, "callback": STRICT}
    async with with_token(create_app(allowing), secret) as client:
        refused = await client.post("/api/v1/jobs", json=body | {"kwargs": WRONG})
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:scheduler-core:invalid-arguments")
        assert tells(refused.json()["detail"])
        assert stored(sql) is None
        made = await client.post("/api/v1/jobs", json=body | {"kwargs": {"to": "a"}})
        assert made.status_code == 201, made.text
        nothing = await client.post("/api/v1/jobs", json=body | {"callback": "apps.arguments:generate"})
        assert (nothing.status_code, "is a generator function" in nothing.json()["detail"]) == (422, True)
        edited = await client.put(
            "/api/v1/jobs/j", json=body | {"kwargs": WRONG}, headers={"If-Match": made.headers["etag"]}
        )
        assert (edited.status_code, tells(edited.json()["detail"])) == (422, True)
        file = '[jobs.j]\nevery = 3600\ncallback = "apps.arguments:strict"\nkwargs = {too = "a", since = "tomorrow"}\n'
        imported = await client.post("/api/v1/jobs-file?dry_run=false", content=file)
        assert (imported.status_code, tells(imported.json()["detail"])) == (422, True)
        assert imported.json()["detail"].startswith("the file: ")
        form = as_text(strict_job(to="a").definition("UTC")) | {"kwargs": json.dumps(WRONG), "id": "j", "version": "1"}
        page = await client.post("/job/edit", data=form, headers={"Origin": "http://scheduler.test"})
        assert page.status_code == 422
        assert "takes no &#39;too&#39;" in page.text
    assert stored(sql) == ({"to": "a"},)


def test_the_command_line_refuses_what_can_not_be_called(command: Callable[..., Any], sql: Sql, tmp_path: Path) -> None:
    allowed = '["apps.arguments", "here"]'
    add = ("jobs", "add", "j", "--callback", STRICT, "--every", "3600")
    done = command(*add, "--policy", f"kwargs={json.dumps(WRONG)}", code=2, allowed_callbacks=allowed)
    assert tells(done.stderr)
    (tmp_path / "jobs.toml").write_text(
        f'[jobs.j]\nevery = 3600\ncallback = "{STRICT}"\nkwargs = {{too = "a", since = "tomorrow"}}\n'
    )
    done = command("jobs", "import", "jobs.toml", "--yes", code=2, allowed_callbacks=allowed)
    assert tells(done.stderr)
    assert "jobs.toml: " in done.stderr
    # Modules of the working directory are found, as by `run --app`.
    (tmp_path / "here.py").write_text("def work(a): ...\n")
    done = command("jobs", "add", "j", "--callback", "here:work", "--every", "3600", code=2, allowed_callbacks=allowed)
    assert "here:work(a) needs a" in done.stderr
    assert stored(sql) is None
    command(*add, "--policy", 'kwargs={"to": "a"}', allowed_callbacks=allowed)
    command(*add, "--policy", f"kwargs={json.dumps(WRONG)}")
    assert stored(sql) == (WRONG,), "not allowed here, so not imported: whoever may call it has to say"


noted: list[Any] = []


def note(since: datetime, **more: Any) -> None:
    """The callback of the test below."""
    noted.append((since, more))


async def test_a_stored_value_that_can_not_be_read_any_more_fails_the_attempt_and_says_which(
    scheduler: BaseScheduler, container: Container, sql: Sql
) -> None:
    noted.clear()
    given = {"since": datetime(2026, 1, 1, tzinfo=UTC)}
    jobs = [ScheduleJob(job_id, "J", "interval", 3600, note, kwargs=given, max_retries=0) for job_id in ("bad", "good")]
    scheduler.callbacks.register(note)
    await container.get_operations().declare([job.definition("UTC") for job in jobs])
    sql.execute("""UPDATE scheduler.jobs SET kwargs = '{"since": "soon"}' WHERE job_id = 'bad'""")
    sql.execute("""UPDATE scheduler.jobs SET kwargs = '{"since": "2027-01-01T00:00:00Z", "b": 1e3, "a": 1}'
                   WHERE job_id = 'good'""")
    for job in jobs:
        await scheduler.operations.trigger(job.job_id)
    ask = "SELECT error_type, error_message FROM scheduler_audit.attempts WHERE job_id = %s"

    async def attempted(job_id: str) -> Any:
        return await eventually_async(lambda: sql.execute(ask, [job_id]).fetchone(), what="an attempt")

    kind, message = await attempted("bad")
    assert kind == "InvalidArgumentsError"
    assert message == (
        f"the job 'bad' can't be called: kwargs: value['since'] is 'soon', which {__name__}:note(since, **more) can't "
        "read as datetime.datetime: Input should be a valid datetime, input is too short: correct the job, or the "
        "annotation"
    )
    assert await attempted("good") == (None, None)
    assert noted == [(datetime(2027, 1, 1, tzinfo=UTC), {"a": 1, "b": 1000})]
    assert list(noted[0][1]) == ["a", "b"]
