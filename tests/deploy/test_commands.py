"""What the manifests start is started here, word by word, on real servers: it migrates, runs, answers and stops."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import manifests
import psycopg
import pytest
from manifests import DEPLOY, ROOT, Deployed
from waiting import eventually

from scheduler_core.runtime.child_processes import die_with_parent

Processes = tuple[Deployed, Deployed]

WAYS: dict[str, Processes] = {
    "kubernetes": (manifests.on_kubernetes("Job", "scheduler-migrate"), manifests.on_kubernetes("Deployment")),
    "compose": (manifests.on_compose("migrate"), manifests.on_compose("replica")),
    "systemd": (manifests.on_systemd("scheduler-migrate.service"), manifests.on_systemd("scheduler@.service")),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Host:
    """Where deployed processes run: their own variables, this test's servers and free ports, and nothing else."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.folder = folder
        self.secrets = {"SCHEDULER_DATABASE_URL": database_url, "SCHEDULER_REDIS_URL": redis_url}
        self.port = free_port()
        (folder / "myapp").mkdir()
        for module in ("myapp/jobs.py", "jobs.py"):
            shutil.copy(DEPLOY / "compose" / "app" / "jobs.py", folder / module)

    def environment(self, deployed: Deployed) -> dict[str, str]:
        variables = {"SCHEDULER_APP": "myapp.jobs"} | deployed.environment | self.secrets
        variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        for door in ("API", "METRICS"):
            if f"SCHEDULER_{door}_PORT" in variables:
                variables[f"SCHEDULER_{door}_HOST"] = "127.0.0.1"
                variables[f"SCHEDULER_{door}_PORT"] = str(free_port())
        # The one that is asked: a process that only serves has its API's.
        door = "API" if "web" in deployed.words else "METRICS"
        variables[f"SCHEDULER_{door}_PORT"] = str(self.port)
        return variables

    def run(self, deployed: Deployed) -> subprocess.CompletedProcess[str]:
        """To its end."""
        return subprocess.run(
            deployed.words,
            env=self.environment(deployed),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def running(self, deployed: Deployed) -> Iterator[subprocess.Popen[bytes]]:
        """Until the block ends."""
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                deployed.words,
                env=self.environment(deployed),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(5)

    def status(self, path: str) -> int | None:
        """What a probe gets; None while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def healthy(self, words: list[str], environment: Mapping[str, str]) -> bool:
        return (
            subprocess.run(words, env=dict(environment), capture_output=True, timeout=30, check=False).returncode == 0
        )


@pytest.fixture
def host(tmp_path: Path, empty_database_url: str, redis_url: str) -> Host:
    return Host(tmp_path, empty_database_url, redis_url)


@pytest.mark.parametrize("way", WAYS)
def test_it_migrates_runs_answers_its_probes_and_stops_in_time(way: str, host: Host) -> None:
    migrate, replica = WAYS[way]
    if way == "kubernetes":
        # Whoever comes before the migration says so and ends: no replica changes the schema by itself.
        early = host.run(replica)
        assert early.returncode != 0
        assert "scheduler migrate" in early.stderr
        assert "Traceback" not in early.stderr
    done = host.run(migrate)
    assert done.returncode == 0, done.stderr
    health = replica.health or manifests.image().health
    with host.running(replica) as process:
        environment = host.environment(replica)
        eventually(lambda: host.status("/readyz") == 200, within_seconds=60, what=f"ready; log in {host.folder}")
        assert host.status("/livez") == 200
        assert host.status("/metrics") == 200
        assert host.healthy(health, environment)
        with psycopg.connect(host.secrets["SCHEDULER_DATABASE_URL"], autocommit=True) as sql:
            eventually(
                lambda: sql.execute("SELECT 1 FROM scheduler.runs WHERE status = 'succeeded'").fetchone(),
                within_seconds=60,
                what="a run of the job that is shipped",
            )
        process.send_signal(signal.SIGTERM)
        assert process.wait(replica.grace_seconds) == 0
        assert not host.healthy(health, environment)


def test_the_process_that_only_serves_answers_after_the_migration(host: Host) -> None:
    web = manifests.on_compose("web")
    assert web.health is not None
    assert host.run(manifests.on_compose("migrate")).returncode == 0
    with host.running(web) as process:
        environment = host.environment(web)
        eventually(lambda: host.status("/readyz") == 200, within_seconds=60, what=f"ready; log in {host.folder}")
        assert host.healthy(web.health, environment)
        assert host.status("/openapi.json") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_links_of_kubernetes_services_would_be_unknown_settings(host: Host) -> None:
    """Why enableServiceLinks is false: with it, a Service named scheduler sets variables that look like ours."""
    _, replica = WAYS["kubernetes"]
    linked = Deployed(replica.words, replica.environment | {"SCHEDULER_SERVICE_HOST": "10.0.0.1"})
    done = host.run(linked)
    assert done.returncode == 2
    assert "service_host" in done.stderr


def test_what_the_image_copies_is_enough_for_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    build = manifests.stages()[0]
    copied = [words.split() for name, words in build if name == "COPY"]
    for *names, place in copied:
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert "scheduler_core/cli/__main__.py" in held
    migrations, kinds = "scheduler_core/storage/migrations", (".py", ".sql")
    assert {name for name in held if name.startswith(f"{migrations}/") and name.endswith(kinds)} == {
        f"{migrations}/{path.relative_to(ROOT / 'alembic').as_posix()}"
        for path in (ROOT / "alembic").rglob("*")
        if path.suffix in kinds
    }

    # Docker sees only what the list beside the Dockerfile lets through.
    ignore = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert allowed == {name for *names, _ in copied for name in names}
