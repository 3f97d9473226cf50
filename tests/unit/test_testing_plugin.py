"""The pytest plugin, as a project sees it that has this package installed: fixtures, and nothing to configure."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

USERS_TEST = """
    import asyncio
    from scheduler_core import ScheduleJob

    def test_a_job(manual_scheduler, scheduler_clock):
        called = []
        async def work():
            job = ScheduleJob("j", "J", "interval", 60, lambda: called.append(scheduler_clock.now()))
            await manual_scheduler.add_job(job)
            await manual_scheduler.advance(150)
        asyncio.run(work())
        assert [instant.isoformat() for instant in called] == [
            "2026-01-01T00:01:00+00:00", "2026-01-01T00:02:00+00:00"
        ]
        assert manual_scheduler.clock is scheduler_clock
"""

ASYNC_TEST = """
    import pytest
    from scheduler_core import ScheduleJob
    from scheduler_core.testing import VirtualClock

    @pytest.fixture
    def scheduler_clock():
        return VirtualClock("2026-03-29T00:00Z")

    async def test_work_that_still_sleeps_at_the_end(manual_scheduler, scheduler_clock):
        async def lasts():
            await scheduler_clock.sleep(3600)
        def blocks():
            scheduler_clock.block(3600)
        await manual_scheduler.add_jobs([
            ScheduleJob("a", "A", "interval", 60, lasts), ScheduleJob("b", "B", "interval", 60, blocks)
        ])
        await manual_scheduler.advance(60)
        assert manual_scheduler.runs[0].scheduled_for.isoformat() == "2026-03-29T00:01:00+00:00"
"""


def run(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test)
    # Warnings are errors: what the plugin leaves lying about fails the run.
    return pytester.runpytest_subprocess("-W", "error", "--timeout=60", *options)


def test_the_fixtures_are_there(pytester: pytest.Pytester) -> None:
    run(pytester, USERS_TEST, "-p", "no:asyncio").assert_outcomes(passed=1)


def test_async_tests_may_leave_work_behind(pytester: pytest.Pytester) -> None:
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    run(pytester, ASYNC_TEST, *options).assert_outcomes(passed=1)


def test_the_fixtures_are_listed_with_what_they_are(pytester: pytest.Pytester) -> None:
    listed = run(pytester, "", "-p", "no:asyncio", "--fixtures")
    listed.stdout.fnmatch_lines(["*scheduler_clock*", "*manual_scheduler*"])
    assert "no docstring available" not in listed.stdout.str().partition("scheduler_clock")[2][:400]


def test_the_plugin_is_light_and_the_package_needs_no_pytest() -> None:
    code = (
        "import sys, scheduler_core.testing as t; t.ManualScheduler; assert 'pytest' not in sys.modules;"
        "import scheduler_core.testing.plugin;"
        "heavy = {'storage', 'sqlalchemy', 'redis', 'asyncpg', 'alembic'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = (
        "import sys, scheduler_core.testing.plugin;"
        "heavy = {'pydantic', 'tenacity', 'concurrent.futures.thread'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
