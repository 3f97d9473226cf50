"""One pair of embedded servers per test session, a database of its own per test.

The servers are real: PostgreSQL and Valkey from wheels, started by the controller and shared by the workers of
xdist. pytest-postgresql clones each test's database from a template that was migrated once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import commands
import psycopg
import pytest
from commands import Command
from databases import load_schema, url_of
from hypothesis import settings
from pooler import pooled
from psycopg.sql import SQL, Identifier
from pytest_postgresql import factories
from pytest_postgresql.janitor import DatabaseJanitor
from xdist.scheduler import LoadScopeScheduling
from zones import use_newer_zones

from scheduler_core import Container, load_settings
from scheduler_core.storage import embedded

LONGEST = (
    "tests/web/browser",
    "tests/failover",
    "tests/integration/test_docs.py",
    "tests/integration/test_bench.py",
    "tests/model",
)

POSTGRES_BIN = "SCHEDULER_POSTGRES_BIN"
"""Another Postgres than the wheel's, for everything: `make test POSTGRES=15`."""

POSTGRES_SETTINGS = {"max_connections": "400", "fsync": "off"}
"""Each test makes a database and drops it, and each drop waits for a checkpoint: a third of a second where files are
synced. What is killed here are processes, and what they have written survives them; only a machine that loses its power
would tell. Measures, and tests of a server of their own, keep it on.
"""

MEMORY = Path("/dev/shm")
"""Linux's folder in memory: to copy the 362 files of a database takes a tenth there of what it takes on a disk."""

MEMORY_BYTES = 2 << 30
"""What must be free of it: a container's own is 64 MB by default."""

SHARING = ("tests/web/browser", "tests/integration/test_wheel.py", "tests/failover/test_drill.py", "tests/stateful")
"""Whose tests share, within a file, what takes long to set up: they stay on one worker."""

WITHOUT_SERVERS = ("tests/unit", "tests/model", "tests/architecture", "tests/oracle")

use_newer_zones()

# How long an example takes says how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_servers: embedded.EmbeddedServers | None = None
_folder: str | None = None


def _folder_in_memory() -> Path | None:
    """Where the session's servers keep their data; None is the place of all temporary files."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return MEMORY if roomy else None


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers, in the controller, unless only tests without servers were asked for."""
    global _servers, _folder  # noqa: PLW0603 - pytest's hooks have no other place to keep them
    # A terminal's end is ignored under `nohup`, and that is inherited: by the replicas whose end the tests look at too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for name in [name for name in os.environ if name.startswith("SCHEDULER_")]:
        if name != POSTGRES_BIN:
            del os.environ[name]
    urls = getattr(config, "workerinput", {}).get("servers")
    if urls is None:
        asked = config.args
        if config.option.collectonly or (asked and all(a.startswith(WITHOUT_SERVERS) for a in asked)):
            return
        _folder = tempfile.mkdtemp(prefix="scheduler-tests-", dir=_folder_in_memory())
        _servers = embedded.start(_folder, postgres_settings=POSTGRES_SETTINGS)
        urls = (_servers.database_url, _servers.redis_url)
    config.servers = urls  # type: ignore[attr-defined]
    parts = urlsplit(urls[0])
    config.option.postgresql_host = parts.hostname
    config.option.postgresql_port = str(parts.port)
    config.option.postgresql_user = parts.username
    config.option.postgresql_password = parts.password
    # Also before: what one teardown could not do must not cost all the tests after it.
    config.option.postgresql_drop_test_database = True


def pytest_report_header(config: pytest.Config) -> str | None:
    """Which Postgres everything runs on."""
    if not hasattr(config, "servers"):
        return None
    with psycopg.connect(config.servers[0]) as connection:
        return f"PostgreSQL {connection.info.parameter_status('server_version')}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each worker of xdist where the servers are."""
    if hasattr(node.config, "servers"):
        node.workerinput["servers"] = node.config.servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker of xdist is left alone with it in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


class _Scheduling(LoadScopeScheduling):
    """Test by test to whichever worker is free, but for files that share."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if nodeid.startswith(SHARING) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """xdist's own `loadgroup` does not see its marks under this pytest (it writes ids that are not read any more)."""
    return _Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What nobody has tested here, and why, in one line: last of all, where it is seen."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    told = "; ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
    terminalreporter.write_line(f"skipped: {sum(reasons.values())}{': ' if told else ''}{told}")


def pytest_unconfigure() -> None:
    """Stop what the controller started."""
    if _servers is not None:
        _servers.stop()
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)


def _drop_by_force(janitor: DatabaseJanitor) -> None:
    """Drop a test's database, whoever is still coming in: else no later test of this worker could make its own."""
    with janitor.cursor() as cursor:
        name = Identifier(janitor.dbname)
        cursor.execute("SELECT datistemplate FROM pg_database WHERE datname = %s", [janitor.dbname])
        if (found := cursor.fetchone()) is None:
            return
        if found[0]:
            cursor.execute(SQL("ALTER DATABASE {} WITH is_template false").format(name))
        cursor.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


DatabaseJanitor.drop = _drop_by_force  # type: ignore[method-assign]

migrated_server = factories.postgresql_noproc(load=[load_schema], dbname="migrated")
bare_server = factories.postgresql_noproc(dbname="bare")
migrated = factories.postgresql("migrated_server")
bare = factories.postgresql("bare_server")


def _url(connection: psycopg.Connection[Any]) -> str:
    info = connection.info
    return url_of(info.host, info.port, info.user, info.dbname, info.password)


@pytest.fixture
def database_url(migrated: psycopg.Connection[Any]) -> str:
    """A fresh database with the schema at head: an installation of its own, and no copy of the template's."""
    migrated.execute("UPDATE scheduler.leader SET installation = gen_random_uuid()")
    migrated.commit()
    return _url(migrated)


@pytest.fixture
def empty_database_url(bare: psycopg.Connection[Any]) -> str:
    """A fresh database with nothing in it."""
    return _url(bare)


@pytest.fixture
def sql(migrated: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Plain SQL on the test's database, as a user would ask it."""
    migrated.autocommit = True
    return migrated


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The session's Redis. A lease's name holds the database's; a lock's is what the test names it."""
    url: str = request.config.servers[1]  # type: ignore[attr-defined]
    return url


@pytest.fixture
def pooled_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The test's database behind a transaction pooler."""
    with pooled(database_url, tmp_path) as url:
        yield url


@pytest.fixture
def environment(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of processes that work on this test's servers, passwords and all."""
    tests = str(Path(__file__).parent)
    return {
        **{
            k: v
            for k, v in os.environ.items()
            if k == POSTGRES_BIN or not k.startswith(("SCHEDULER_", "PYTEST_", "COV_"))
        },
        "SCHEDULER_DATABASE_URL": database_url,
        "SCHEDULER_REDIS_URL": redis_url,
        "SCHEDULER_TIMEZONE": "UTC",
        "PYTHONPATH": tests,
        "WITNESS_FILE": str(tmp_path / "witness"),
    }


@pytest.fixture
async def container(database_url: str, redis_url: str) -> AsyncIterator[Container]:
    """A replica in this process, not started yet."""
    made = Container(
        load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0, drain_timeout=2.0)
    )
    yield made
    await made.close()


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Command:
    """`scheduler WORDS…`, in a folder of its own; fails unless it ends with `code`, and on any traceback.

    Other keywords are settings, `given` is what it reads.
    """

    def run(*words: str, code: int = 0, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        variables = environment | {f"SCHEDULER_{name.upper()}": value for name, value in settings.items()}
        done = commands.as_text(
            commands.scheduler(*words, environment=variables, folder=tmp_path, given=given.encode())
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run
