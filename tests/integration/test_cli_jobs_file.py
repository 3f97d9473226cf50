"""`jobs import`, `export`, `prune` and the doctor's comparison, as a user types them, on real servers."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import psycopg
import pytest
from replicas import Replicas
from waiting import eventually, eventually_async

from scheduler_core import Calendar, Container, ScheduleJob, ServerUnreachableError, load_jobs
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.jobs_file import applying
from scheduler_core.jobs_file.difference import compare

Sql = psycopg.Connection[Any]
Command = Callable[..., "subprocess.CompletedProcess[bytes]"]

DOCS = Path(__file__).parents[2] / "docs" / "jobs-file.md"

JOB = '[jobs.{}]\nevery = 3600\ncallback = "apps.idle:work"\n'
ODD = """
[jobs."a.b 'c' \\"d\\" 日本 ü"]
cron = "0 0 14 * * *"
name = "odd"
callback = "apps.idle:work"
timezone = "Australia/Lord_Howe"
start_at = 2027-01-01T00:00:00.000001+09:00
end_at = 2037-01-01
kwargs = '{"null": null, "large": 123456789012345678901234567890, "deep": {"x": [1, 1.0, true, 1e300, -0.0]}}'
args = ["two\\nlines", [[]], {a = {b = 1.5}}]
timeout = 0.5
tags = ["é", "b"]
enabled = false
dst = "skip"

[jobs.now]
once = "now"
callback = "apps.idle:work"

[jobs.later]
once = 2999-12-31T23:59:59.999999Z
callback = "apps.idle:work"
misfire = "all"
disable_after = 3

[jobs.times]
daily = ["14:30", 09:00:05]
callback = "apps.idle:work"
use_distributed_lock = true
lock_key = "a b"
lock_ttl = 0.25
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def scheduler(environment: dict[str, str], folder: Path) -> Command:
    def run(*words: str, code: int = 0, given: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        done = commands.scheduler("jobs", *words, environment=environment | variables, folder=folder, given=given)
        assert done.returncode == code, (done.stdout.decode(), done.stderr.decode())
        assert b"Traceback" not in done.stderr
        return done

    return run


def ids(sql: Sql) -> list[str]:
    return [row[0] for row in sql.execute('SELECT job_id FROM scheduler.jobs ORDER BY job_id COLLATE "C"')]


def digests(sql: Sql) -> dict[str, str]:
    return dict(sql.execute("SELECT job_id, digest FROM scheduler.jobs").fetchall())


def test_export_import_export_is_the_same_file_and_the_same_jobs(scheduler: Command, folder: Path, sql: Sql) -> None:
    (folder / "mine.toml").write_text(JOB.format("plain") + ODD, encoding="utf-8")
    scheduler("import", "mine.toml", "--yes")
    first, before = scheduler("export").stdout, digests(sql)
    assert len(before) == 5
    assert scheduler("import", "-", given=first).stdout.decode().strip() == "Nothing differs."
    sql.execute("DELETE FROM scheduler.jobs")
    # Another host, another default zone: the file says the zone of each job.
    scheduler("import", "-", "--yes", given=first, SCHEDULER_TIMEZONE="Asia/Tokyo")
    assert digests(sql) == before
    scheduler("export", "again.toml")
    assert (folder / "again.toml").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["again.toml", "mine.toml"]


def test_a_file_changes_nothing_until_somebody_says_yes(scheduler: Command, folder: Path, sql: Sql) -> None:
    path = folder / "jobs.toml"
    path.write_text(JOB.format("a") + JOB.format("b"), encoding="utf-8")
    shown = scheduler("import", "jobs.toml", code=1).stdout.decode()
    assert "added" in shown
    assert "2 to be added" in shown
    scheduler("import", "jobs.toml", "--dry-run", "--yes", code=1)
    document = json.loads(scheduler("import", "jobs.toml", "--json", code=1).stdout)
    assert ([job["job_id"] for job in document["added"]], document["applied"]) == (["a", "b"], False)
    assert ids(sql) == []
    assert json.loads(scheduler("import", "jobs.toml", "--yes", "--json").stdout)["applied"] is True
    scheduler("import", "jobs.toml", "--dry-run")
    scheduler("import", "jobs.toml")
    path.write_text(JOB.format("a") + 'timeout = 5\nkwargs = {x = "[red]"}\n' + JOB.format("c"), encoding="utf-8")
    document = json.loads(scheduler("import", "jobs.toml", "--prune", "--json", code=1).stdout)
    (change,) = document["changed"]
    assert change["fields"]["timeout"] == {"old": None, "new": 5}
    assert [job["job_id"] for job in document["removed"]] == ["b"]
    scheduler("pause", "a", "--note", "mine")
    shown = scheduler("import", "jobs.toml", "--prune", "--yes").stdout.decode()
    assert re.search(r"changed +a +timeout +- +5\b", shown)
    assert '{"x": "[red]"}' in shown
    assert "1 added, 1 changed, 1 removed" in shown
    assert ids(sql) == ["a", "c"]
    row = sql.execute("SELECT pause_note, paused_at IS NOT NULL, timeout FROM scheduler.jobs WHERE job_id = 'a'")
    assert row.fetchone() == ("mine", True, 5), "an operator's pause survives"


def on_a_terminal(
    environment: dict[str, str], folder: Path, *words: str, answer: bytes, before: Callable[[], object] = lambda: None
) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler_core.cli", "jobs", *words],
        env=environment, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                break
            if not part:
                break
            seen += part
            if b"[y/N]" in seen and answer:
                before()
                os.write(ours, answer)
                answer = b""
        return process.wait(30), seen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_terminal_is_asked(environment: dict[str, str], folder: Path, sql: Sql) -> None:
    (folder / "jobs.toml").write_text(JOB.format("a"), encoding="utf-8")
    assert on_a_terminal(environment, folder, "import", "jobs.toml", answer=b"n\n")[0] == 1
    assert ids(sql) == []

    def another() -> None:
        sql.execute("DELETE FROM scheduler.jobs")

    code, said = on_a_terminal(environment, folder, "import", "jobs.toml", answer=b"y\n")
    assert (code, ids(sql)) == (0, ["a"])
    (folder / "jobs.toml").write_text(JOB.format("a") + "timeout = 5\n", encoding="utf-8")
    code, said = on_a_terminal(environment, folder, "import", "jobs.toml", answer=b"y\n", before=another)
    assert (code, ids(sql)) == (1, []), "what was shown is no longer what would be done"
    assert "look again" in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (JOB.format("a") + JOB.format("b") + "jiter = 1\n", "line 7"),
        (JOB.format("a") + JOB.format("a"), "line 4"),
        (b"\xff\xfe[jobs]", "UTF-8"),
        ("[" * 100_000, "TOML"),
        (JOB.format("a") + f"args = [{'[' * 90_000}{']' * 90_000}]\n", "too deep"),
        (JOB.format("a") + f"max_retries = {'9' * 5_000}\n", "out of range"),
        (JOB.format("a") + JOB.format("'\\u0000'").replace("'", '"'), "control characters"),
        (None, "16 MiB"),
        ("DIRECTORY", "directory"),
        ("", ""),
    ],
    ids=range(10),
)
def test_what_no_file_may_be_is_one_line_and_stores_nothing(
    scheduler: Command, folder: Path, sql: Sql, content: str | bytes | None, says: str
) -> None:
    path = folder / "jobs.toml"
    if content == "DIRECTORY":
        path.mkdir()
    elif content is None:
        with path.open("wb") as file:
            file.truncate(50 * 2**20)
    elif content:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = scheduler("import", "jobs.toml", "--yes", code=2)
    (line,) = done.stderr.decode().strip().splitlines()
    assert says in line
    assert "jobs.toml" in line
    assert done.stdout == b""
    assert ids(sql) == []


async def test_a_calendar_that_does_not_exist_is_found_out_before_anything_is_stored(
    scheduler: Command, container: Container, sql: Sql
) -> None:
    file = ("".join(JOB.format(f"job-{n}") for n in range(3)) + 'calendars = ["holidays"]\n').encode()
    for words in (["--dry-run"], ["--yes"]):
        done = scheduler("import", "-", *words, code=2, given=file)
        assert b"standard input: job 'job-2' names the calendar 'holidays'" in done.stderr
        assert ids(sql) == []
    await container.get_calendars().put(Calendar("holidays", ["2027-01-01"]))
    scheduler("import", "-", "--yes", given=file)
    first = scheduler("export").stdout
    assert b"holidays" in first
    sql.execute("DELETE FROM scheduler.jobs")
    scheduler("import", "-", "--yes", given=first)
    assert scheduler("export").stdout == first


def test_standard_input_has_the_same_limit(scheduler: Command, sql: Sql) -> None:
    assert b"standard input is larger" in scheduler("import", "-", "--yes", code=2, given=b"#" * (17 * 2**20)).stderr


def test_export_replaces_its_own_files_alone(scheduler: Command, folder: Path) -> None:
    (folder / "app.py").write_text("print(1)\n", encoding="utf-8")
    assert b"no file of jobs" in scheduler("export", "app.py", code=2).stderr
    assert (folder / "app.py").read_text(encoding="utf-8") == "print(1)\n"
    scheduler("export", "jobs.toml")
    scheduler("import", "-", "--yes", given=JOB.format("a").encode())
    scheduler("export", "jobs.toml")
    assert [job.job_id for job in load_jobs(folder / "jobs.toml")] == ["a"]
    for nowhere in ("absent/jobs.toml", ".", "x" * 300):
        assert len(scheduler("export", nowhere, code=2).stderr.strip().splitlines()) == 1


def test_an_unreadable_row_is_in_no_file_and_not_overwritten(scheduler: Command, sql: Sql) -> None:
    scheduler("import", "-", "--yes", given=JOB.format("a").encode())
    sql.execute("UPDATE scheduler.jobs SET timezone = 'Mars/Olympus'")
    assert b"can't be read" in scheduler("export", code=2).stderr
    assert b"can't be read" in scheduler("import", "-", "--yes", code=2, given=JOB.format("a").encode()).stderr


def test_a_row_that_was_edited_in_sql_is_not_said_to_be_changed(scheduler: Command, sql: Sql) -> None:
    scheduler("import", "-", "--yes", given=JOB.format("a").encode())
    sql.execute("UPDATE scheduler.jobs SET timeout = 7")
    done = scheduler("import", "-", "--yes", code=1, given=JOB.format("a").encode())
    assert b"edited in SQL" in done.stderr


def test_prune_removes_what_neither_file_nor_module_declares(scheduler: Command, folder: Path, sql: Sql) -> None:
    scheduler("import", "-", "--yes", given="".join(map(JOB.format, ("idle", "kept", "gone", "[x]"))).replace(
        "[jobs.[x]]", "[jobs.'[x]']").encode())  # fmt: skip
    (folder / "kept.toml").write_text(JOB.format("kept"), encoding="utf-8")
    (folder / "empty.toml").write_text("", encoding="utf-8")
    scheduler("prune", code=2)
    assert b"declares no job" in scheduler("prune", "--file", "empty.toml", "--yes", code=2).stderr
    assert b"declares no job" in scheduler("import", "empty.toml", "--prune", "--yes", code=2).stderr
    assert b"declares no job" in scheduler("prune", "--app", "json", "--yes", code=2).stderr
    both = ("prune", "--app", "apps.idle", "--file", "kept.toml")
    document = json.loads(scheduler(*both, "--json", code=1).stdout)
    assert [job["job_id"] for job in document["removed"]] == ["[x]", "gone"]
    assert all("by a command" in note for note in document["notes"])
    assert b"2 to be removed" in scheduler(*both, code=1).stdout
    assert len(ids(sql)) == 4
    run_id = json.loads(scheduler("trigger", "gone", "--json").stdout)["run_id"]
    scheduler(*both, "--yes")
    scheduler(*both)
    assert ids(sql) == ["idle", "kept"]
    assert sql.execute("SELECT job_id FROM scheduler_audit.runs WHERE run_id = %s", [run_id]).fetchone() == ("gone",)
    scheduler("prune", "--file", "kept.toml", "--yes")
    assert ids(sql) == ["kept"]


def doctor(environment: dict[str, str], folder: Path, *words: str) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "scheduler_core.cli", "doctor", "--json", *words],
        env=environment, cwd=folder, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stderr.decode()
    found: dict[str, dict[str, str]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["kind"], {})[finding["subject"]] = finding["detail"]
    return found


def test_code_that_differs_and_code_that_is_gone_show_up_in_the_doctor(
    scheduler: Command, environment: dict[str, str], folder: Path, tmp_path: Path, sql: Sql
) -> None:
    scheduler("import", "-", "--yes", given=JOB.format("by-file").encode())
    billing = Replicas(environment | {"SERVICE": "billing"}, "apps.one_of_two", tmp_path)
    (tmp_path / "b").mkdir()
    other = Replicas(environment, "apps.idle", tmp_path / "b")
    try:
        other.start()
        billing.start()
        billing.wait_for(sql, 2)
        eventually(lambda: ids(sql) == ["by-file", "idle", "invoice"])
        assert "undeclared" not in doctor(environment, folder)
        found = doctor(environment | {"SERVICE": "storage"}, folder, "--app", "apps.one_of_two")
        assert set(found["undeclared"]) == {"idle", "invoice"}, "a job that a command added is no code's"
        assert set(found["not stored"]) == {"backup"}
        notes = json.loads(scheduler("prune", "--app", "apps.idle", "--json", code=1).stdout)["notes"]
        assert any(note.startswith("invoice: the living replica") for note in notes)
        billing.stop()
        eventually(lambda: set(doctor(environment, folder).get("undeclared", {})) == {"invoice"})
        changed = JOB.format("idle") + "timeout = 7\n"
        done = json.loads(scheduler("import", "-", "--yes", "--json", given=changed.encode()).stdout)
        assert any(note.startswith("idle: code declares it") for note in done["notes"])
        assert doctor(environment, folder, "--app", "apps.idle")["differs"] == {"idle": "timeout: 7, in code null"}
        scheduler("prune", "--app", "apps.idle", "--yes")
        assert ids(sql) == ["idle"]
    finally:
        billing.stop()
        other.stop()


async def test_a_failure_half_way_says_how_far_it_came_and_again_makes_the_rest(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await container.prepare()
    wanted = [definition(f"job-{n}") for n in range(7)]
    operations = container.get_operations()
    await operations.declare([definition("job-5", timeout=9), definition("z-old")])
    stored = {d.job_id: d for d in (definition("job-5", timeout=9), definition("z-old"))}
    monkeypatch.setattr(applying, "BATCH", 3)
    asked: list[int] = []
    declare = Operations.declare

    async def failing(self: Operations, definitions: Any) -> None:
        asked.append(len(definitions))
        if len(asked) == 3:
            raise ServerUnreachableError("Postgres is gone")
        await declare(self, definitions)

    monkeypatch.setattr(Operations, "declare", failing)
    difference = compare(stored, wanted, removed={"z-old"})
    with pytest.raises(ServerUnreachableError, match=r"Postgres is gone \(6 of 8 changes were made before"):
        await applying.apply(difference, operations)
    assert await applying.apply(difference, operations) == 8
    assert ids(sql) == [f"job-{n}" for n in range(7)]
    assert sql.execute("SELECT count(*) FROM scheduler.jobs WHERE timeout IS NOT NULL").fetchone() == (0,)


def definition(job_id: str, **fields: Any) -> JobDefinition:
    return ScheduleJob(job_id, job_id, "interval", 3600, "apps.idle:work", **fields).definition("UTC")


async def test_numbers_come_back_from_the_database_as_they_were_declared(container: Container, sql: Sql) -> None:
    await container.prepare()
    numbers = [1e22, 1e23, 1e16, 1e15, -0.0, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 2**70, True, 1, 1.0]
    one = definition("numbers", args=numbers)
    long = ScheduleJob("long", "L", "interval", 5, f"{'m' * 300}:f").definition("UTC")
    await container.get_operations().declare([one, long])
    loaded = {job.job_id: job for job in await container.get_storage().jobs.load(["numbers", "long"])}
    for wanted in (one, long):
        stored = loaded[wanted.job_id]
        assert getattr(stored, "problem", None) is None
        assert stored.definition.digest == wanted.digest == digests(sql)[wanted.job_id]  # type: ignore[union-attr]


async def test_jobs_of_a_file_are_added_like_those_of_code(container: Container, folder: Path, sql: Sql) -> None:
    path = folder / "jobs.toml"
    path.write_text('[jobs.tick]\nevery = 0.1\ncallback = "apps.idle:work"\n', encoding="utf-8")
    await container.start(load_jobs(path))

    async def has_run() -> bool:
        row = sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'").fetchone()
        return row is not None and row[0] > 2

    await eventually_async(has_run)


def test_the_examples_of_the_docs_are_what_they_say(scheduler: Command, folder: Path, sql: Sql) -> None:
    text = DOCS.read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    (folder / "jobs.toml").write_text("".join(examples), encoding="utf-8")
    assert {job.job_id for job in load_jobs(folder / "jobs.toml")} == {
        "daily_report", "clean_up", "billing.invoices", "migrate_customers", "sync",
    }  # fmt: skip
    commands = re.findall(r"^ *scheduler jobs (import .*?)(?: +#.*)?$", text, re.MULTILINE)
    for words, code in zip(commands, (1, 1, 0), strict=True):
        scheduler(*words.split(), code=code)
    assert len(ids(sql)) == 5
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(program, str(DOCS), "exec"), {})
