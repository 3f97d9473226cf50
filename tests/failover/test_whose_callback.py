"""Jobs that running code has added outlive it, and no program calls another's function, whatever it is called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import as_text, scheduler
from replicas import Replicas, witnessed
from waiting import eventually

from scheduler_core.runtime.child_processes import die_with_parent

Sql = psycopg.Connection[Any]

CUSTOMERS = 20


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    environment |= {"SCHEDULER_APPLICATION": "shop", "SCHEDULER_LEASE_TTL": "1"}
    made = Replicas(environment, "apps.customers", tmp_path)
    yield made
    made.stop()


def all_fire(environment: dict[str, str]) -> None:
    """Every customer's job is called, with the customer's number, and from now on."""
    before = Counter(witnessed(environment))
    wanted = [f"customer-{number} {number}" for number in range(CUSTOMERS)]

    def silent() -> list[str]:
        now = Counter(witnessed(environment))
        assert set(now) <= set(wanted)
        return [line for line in wanted if now[line] < before[line] + 2]

    eventually(lambda: not silent(), what=f"all are called; silent: {silent()}")


def test_jobs_that_a_request_added_outlive_every_process_that_was_there(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    added = subprocess.run(
        [sys.executable, "-m", "apps.requests_for_customers", str(CUSTOMERS)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert added.returncode == 0, added.stderr.decode()
    assert b"by this process alone" not in added.stderr
    old = replicas.start(2)
    replicas.wait_for(sql, 2)
    all_fire(environment)
    for replica in old:  # one by one
        [new] = replicas.start(1)
        replica.terminate()
        replica.wait(20)
        all_fire(environment)
        assert new.poll() is None
    replicas.stop()  # all at once
    replicas.start(2)
    replicas.wait_for(sql, 2)
    all_fire(environment)
    report = json.loads(scheduler("doctor", "--json", environment=environment, folder=tmp_path).stdout)
    assert {finding["kind"] for finding in report["findings"]} & {"no callback", "undeclared", "overdue"} == set()
    told = as_text(scheduler("explain", "customer-7", environment=environment, folder=tmp_path)).stdout
    assert "can call" not in told
    pruned = scheduler("jobs", "prune", "--app", "apps.ticking", "--json", environment=environment, folder=tmp_path)
    assert json.loads(pruned.stdout)["removed"] == []


def test_one_finding_says_what_all_jobs_of_a_callback_wait_for_and_none_says_to_prune(
    replicas: Replicas, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "apps.requests_for_customers", "5"],
        env=environment,
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    replicas.start(1, SCHEDULER_APPLICATION="bakery")
    replicas.wait_for(sql, 1)
    waiting = "SELECT count(DISTINCT job_id) FROM scheduler.runs WHERE reason = 'no_callback'"
    eventually(lambda: sql.execute(waiting).fetchone() == (5,), what="all wait")
    report = json.loads(scheduler("doctor", "--json", environment=environment, folder=tmp_path).stdout)
    [found] = [finding for finding in report["findings"] if finding["kind"] == "no callback"]
    assert found["subject"] == "apps.customers:sync"
    assert found["detail"] == (
        "5 jobs call it, 'customer-0' for one, and no living replica can: start a replica of the application 'shop' "
        "whose modules define it; if that is this program under an earlier name, start it with `application` set to "
        "that"
    )
    assert "prune" not in json.dumps(report)
    told = as_text(scheduler("explain", "customer-3", environment=environment, folder=tmp_path)).stdout
    assert "No replica that lives can call apps.customers:sync for this job" in " ".join(told.split())


MAIN = """
import asyncio, sys
from replicas import witness
from scheduler_core import ScheduleJob, SchedulerService

NAME = "{name}"

async def run():
    witness(NAME + " called " + NAME)

async def main():
    SchedulerService.init()
    await SchedulerService.add_job(ScheduleJob("job of " + NAME, NAME, "interval", 0.5, run))
    await SchedulerService.start()
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""

WORK = """
from replicas import witness

def sync(number):
    witness(f"sync {number}")
"""

DEPLOYED = """
import asyncio, sys
import work
from scheduler_core import ScheduleJob, SchedulerService

async def main():
    SchedulerService.init()
    await SchedulerService.start()
    if "add" in sys.argv:
        await SchedulerService.add_job(ScheduleJob("customer-7", "C", "interval", 0.5, work.sync, args=[7]))
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""

SERVICE = """
from replicas import witness
from scheduler_core import job

@job("job of {name}", every=0.5)
async def run():
    witness("{name} called {name}")
"""


@pytest.mark.parametrize("kind", ["script", "service", "namesake"])
def test_two_programs_on_one_schema_call_their_own(
    kind: str, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    """Each `python main.py` has its `run`; each service has its `jobs:run` (huey #436, taskiq #507). Where nobody has
    said what the services are called, both have one name, and take turns.
    """
    programs = []
    try:
        for name in ("shop", "blog"):
            folder = tmp_path / name
            folder.mkdir()
            if kind == "script":
                (folder / "main.py").write_text(MAIN.format(name=name))
                words = ["main.py"]
                variables = {}
            else:
                (folder / "jobs.py").write_text(SERVICE.format(name=name))
                words = ["-m", "scheduler_core.cli", "run", "--app", "jobs"]
                variables = {"SCHEDULER_APPLICATION": name} if kind == "service" else {}
            with (folder / "log").open("wb") as log:
                program = subprocess.Popen(
                    [sys.executable, *words],
                    env=environment | variables | {"SCHEDULER_LEASE_TTL": "1"},
                    cwd=folder,
                    stderr=log,
                    preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
                )
            programs.append(program)
        both = ("job of shop", "job of blog")
        done = "SELECT job_id, count(*) FROM scheduler.runs WHERE status = 'succeeded' GROUP BY job_id"
        eventually(
            lambda: {row[0] for row in sql.execute(done).fetchall() if row[1] >= 3} == set(both),
            within_seconds=60,
            what=f"both fire; logs in {tmp_path}",
        )
        succeeded = dict(sql.execute(done).fetchall())
    finally:
        for program in programs:
            program.kill()
            program.wait(10)
    calls = Counter(witnessed(environment))
    assert set(calls) == {"shop called shop", "blog called blog"}
    for name in ("shop", "blog"):
        assert calls[f"{name} called {name}"] >= succeeded[f"job of {name}"], "what succeeded was its own"


@pytest.mark.parametrize("by", ["its path", "its name, in its folder"])
def test_a_job_that_was_added_outlives_the_deployment_that_moves_its_script(
    by: str, sql: Sql, environment: dict[str, str], tmp_path: Path
) -> None:
    """Each release in a folder of its own, and a link that leads to the current one."""
    current = tmp_path / "current"

    def deploy(release: str, *words: str) -> subprocess.Popen[bytes]:
        folder = tmp_path / "releases" / release
        folder.mkdir(parents=True)
        (folder / "work.py").write_text(WORK)
        (folder / "main.py").write_text(DEPLOYED)
        current.unlink(missing_ok=True)
        current.symlink_to(folder)
        script, here = (current / "main.py", tmp_path) if by == "its path" else (Path("main.py"), current)
        with (tmp_path / f"log of {release}").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, str(script), *words],
                env=environment | {"SCHEDULER_LEASE_TTL": "1", "PWD": str(here)},
                cwd=here,
                stderr=log,
                preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
            )

    old = deploy("1", "add")
    try:
        eventually(lambda: len(witnessed(environment)) > 1, within_seconds=30, what=f"it fires; logs in {tmp_path}")
    finally:
        old.kill()
        old.wait(10)
    before = len(witnessed(environment))
    new = deploy("2")
    try:
        eventually(lambda: len(witnessed(environment)) > before + 1, within_seconds=30, what=f"again; {tmp_path}")
    finally:
        new.kill()
        new.wait(10)
    assert set(witnessed(environment)) == {"sync 7"}
