"""Every session with Postgres and with Redis is encrypted, where the URL says so; and a wrong certificate is one line.

The certificates are made here, by an authority of the test's own. The servers are Debian's: those of the wheels are
built without TLS.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import debian
import psycopg
import pytest
import trustme
from commands import Command
from replicas import Replicas
from waiting import eventually

from bench.sentinels import Certificates, Sentinels
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.ports.election import Instance, LeaseName
from scheduler_core.storage.embedded import PostgresServer
from scheduler_core.storage.embedded.programs import give
from scheduler_core.storage.fire.control_session import PostgresControlSession
from scheduler_core.storage.postgres import migrate
from scheduler_core.storage.redis.leases import LeaseStore

SESSIONS = """
SELECT a.application_name, s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
WHERE a.backend_type = 'client backend' AND a.datname = 'scheduler'
"""

FIRST_FIRE = "SELECT min(started_at) FROM scheduler_audit.runs WHERE term > %s"

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Secured:
    """A Postgres that takes nobody without TLS. `trusted` and `other` are certificates of authorities."""

    postgres: PostgresServer
    trusted: Path
    other: Path

    def url(self, query: str, host: str = "localhost") -> str:
        return self.postgres.url.replace("127.0.0.1", host) + f"?{query}"

    @property
    def verified(self) -> str:
        return self.url(f"sslmode=verify-full&sslrootcert={self.trusted}")


@dataclass(frozen=True, slots=True)
class Issued:
    """What Postgres, called localhost, and Redis, called by its address, show; and another authority."""

    postgres: Certificates
    redis: Certificates
    other: Path


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")

    def issue(name: str) -> Certificates:
        certificate = authority.issue_cert(name)
        made = Certificates(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(made.certificate)
        certificate.private_key_pem.write_to_path(made.key)
        return made

    return Issued(issue("localhost"), issue("127.0.0.1"), folder / "other.pem")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, issued: Issued) -> Iterator[Secured]:
    made = issued.postgres
    folder = tmp_path_factory.mktemp("postgres")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEDULER_POSTGRES_BIN", str(debian.postgres_bin()))
        postgres = PostgresServer(folder, settings={"log_connections": "on"})
        with postgres.start():
            patch.undo()
            for name, file in (("server.crt", made.certificate), ("server.key", made.key)):
                (postgres.data / name).write_bytes(file.read_bytes())
                (postgres.data / name).chmod(0o600)
                give(postgres.data / name, postgres.identity)
            (postgres.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
            with psycopg.connect(postgres.url, autocommit=True) as sql:
                sql.execute("ALTER SYSTEM SET ssl = on")
                sql.execute("SELECT pg_reload_conf()")
            found = Secured(postgres, made.authority, issued.other)
            eventually(lambda: _answers(found.verified), what="a Postgres that speaks TLS")
            (folder / "postgres.log").write_bytes(b"")
            yield found


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory, issued: Issued) -> Iterator[Sentinels]:
    """A master, its replica and three Sentinels that speak nothing but TLS."""
    folder = tmp_path_factory.mktemp("sentinels")
    with Sentinels(folder, program=debian.redis_server(folder), tls=issued.redis) as started:
        yield started


def test_every_session_of_two_replicas_is_encrypted(
    secured: Secured, sentinels: Sentinels, environment: dict[str, str], command: Command, tmp_path: Path
) -> None:
    """The migration, Alembic's own command, the pools, the control sessions by an address of their own, the lease."""
    with_tls = {
        "database_url": secured.verified,
        "control_database_url": secured.url(f"sslmode=verify-ca&sslrootcert={secured.trusted}", "127.0.0.1"),
        "redis_url": sentinels.url,
    }
    command("migrate", **with_tls)
    own = environment | {f"SCHEDULER_{name.upper()}": value for name, value in with_tls.items()}
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "current"],
        check=False,
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, migrate.head()), done.stderr
    replicas = Replicas(own, "apps.ticking", tmp_path)
    try:
        replicas.start(2)
        with psycopg.connect(secured.verified, autocommit=True) as sql:
            replicas.wait_for(sql, 2)
            eventually(lambda: sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone()[0] > 20)  # type: ignore[index]
            found = sql.execute(SESSIONS).fetchall()
            leader, term = replicas.leader(sql)
            eventually(
                lambda: any(lease["term"] == str(term) for lease in sentinels.keys("scheduler:lease:*").values())
            )
            names = [name for name, _ in found]
            assert sum(name.startswith("scheduler control") for name in names) == 2
            assert names.count("scheduler") >= 2
            assert all(encrypted for _, encrypted in found), found
            leader.send_signal(signal.SIGKILL)
            eventually(lambda: sql.execute(FIRST_FIRE, [term]).fetchone()[0], what="a successor")  # type: ignore[index]
    finally:
        replicas.stop()
    # And those that are over by now.
    log = (secured.postgres.folder / "postgres.log").read_text()
    lines = re.findall(r"connection authorized: .*", log)
    assert len(lines) > 10
    assert all("SSL enabled" in line for line in lines), log


DOORS: tuple[tuple[str, str, int, str], ...] = (
    ("sslmode=require", "127.0.0.1", 0, ""),
    ("sslmode=verify-full&sslrootcert={trusted}", "localhost", 0, ""),
    ("sslmode=verify-ca&sslrootcert={trusted}", "127.0.0.1", 0, ""),
    ("sslmode=verify-full&sslrootcert={trusted}", "127.0.0.1", 3, "is not trusted (IP address mismatch"),
    ("sslmode=verify-full&sslrootcert={other}", "localhost", 3, "is not trusted"),
    ("sslmode=verify-ca&sslrootcert={other}", "localhost", 3, "is not trusted"),
    ("sslmode=require&sslrootcert={other}", "localhost", 3, "is not trusted"),
    ("sslmode=disable", "localhost", 3, "takes no connection without TLS"),
    ("sslmode=verify-full&sslrootcert=/nowhere.pem", "localhost", 2, "sslrootcert is /nowhere.pem"),
    ("sslmode=verify-full&sslrootcert={garbage}", "localhost", 3, "TLS with Postgres at localhost"),
    ("sslmode=surely", "localhost", 2, "sslmode is one of"),
    ("ssl=require", "localhost", 2, "sslmode="),
    ("sslmode=require&sslmode=disable", "localhost", 2, "twice"),
    ("hostaddr=127.0.0.1", "localhost", 2, "hostaddr"),
    ("nonsense=3", "localhost", 2, "parameter that is not known"),
)
"""What follows the ? of `database_url`, the host before it, the exit code and what the line says."""


def test_a_door_that_stays_shut_is_one_line(secured: Secured, command: Command, tmp_path: Path) -> None:
    """By the pool (`jobs list`) and by the migrations' own session alike."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    migrate.upgrade(secured.verified)
    for query, host, code, says in DOORS:
        asked = secured.url(query.format(trusted=secured.trusted, other=secured.other, garbage=garbage), host)
        for words in (("jobs", "list"), ("migrate", "--check")):
            done = command(*words, code=code, database_url=asked)
            assert says in done.stderr, query
            assert len(done.stderr.strip().splitlines()) == (1 if code else 0), query
            assert secured.postgres.password not in done.stderr


class Nobody:
    """Listens to no session."""

    def nudged(self, message: str) -> None: ...

    def session_lost(self) -> None: ...


async def test_a_forked_child_lets_go_of_an_encrypted_session(secured: Secured) -> None:
    """Or it would keep a dead leader's witness: the socket lies under a layer more than without TLS."""
    migrate_url = secured.verified
    await migrate.upgrade_async(migrate_url)
    session = PostgresControlSession(migrate_url, "scheduler", ttl_seconds=60)
    me = Instance("forking", "forking", "here", os.getpid(), "0", True)
    await session.open(me, Nobody())
    held = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'scheduler control forking'"
    with psycopg.connect(migrate_url, autocommit=True) as sql:
        assert sql.execute(held).fetchone() == (1,)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads are none of the child's business
            child = os.fork()
        if child == 0:
            signal.pause()
        try:
            session._connection.terminate()  # type: ignore[union-attr]
            eventually(lambda: sql.execute(held).fetchone() == (0,), what="the server sees that the session ended")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)  # noqa: ASYNC222 - it is dead


async def test_redis_and_sentinels_with_tls(sentinels: Sentinels, issued: Issued) -> None:
    trusted, other = str(issued.redis.authority), str(issued.other)

    async def ping(url: str) -> None:
        lease = LeaseStore(url, LeaseName("one", "here"), timeout_seconds=2.0)
        try:
            await lease.ping()
        finally:
            await lease.close()

    for url in (sentinels.url, sentinels.master_url):
        await ping(url)
        await ping(url.replace(f"ssl_ca_certs={trusted}", "ssl_cert_reqs=none"))
        for wrong in (url.replace(trusted, other), url.replace(f"ssl_ca_certs={trusted}", "")):
            with pytest.raises(ServerUnreachableError, match=r"certificate of Redis at .* is not trusted") as caught:
                await ping(wrong.removesuffix("?").removesuffix("&"))
            assert sentinels.password not in str(caught.value)
        # Without TLS nobody is answered.
        with pytest.raises(ServerUnreachableError):
            await ping(url.replace("rediss", "redis").partition("&ssl_")[0].partition("?ssl_")[0])
