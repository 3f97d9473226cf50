"""`scheduler dev`: embedded servers, several replica processes, demo jobs; kill one and watch."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from scheduler_core.admin.status import leader_status
from scheduler_core.cli.dev_api_server import DevApiServer
from scheduler_core.cli.output import console
from scheduler_core.cli.signals import StopSignals
from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidSettingsError, SchedulerError, ServerUnreachableError
from scheduler_core.runtime.child_processes import die_with_parent, end_with_us
from scheduler_core.runtime.task_ends import end_tasks
from scheduler_core.settings import load_settings

DEMO_APP = "scheduler_core.cli.demo"
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 15.0
WATCH_SECONDS = 0.25
SUMMARY_SECONDS = 5.0
MAX_RESTARTS_PER_MINUTE = 30


def dev(
    replicas: Annotated[int, typer.Option(min=0, max=50, help="Replica processes; 0 for the servers alone.")] = 3,
    app: Annotated[str | None, typer.Option(help="A module of yours that declares jobs with @job.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the servers keep their data.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", min=0.1, help="Stop by itself after so long.")] = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="No demo jobs.")] = False,
) -> None:
    """Embedded Postgres and Redis, replicas and demo jobs; Ctrl-C stops all."""
    given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    settings = load_settings(**given)
    if no_demo and app is None and replicas:
        raise InvalidSettingsError("--no-demo leaves the replicas without jobs: name a module with --app")
    folder = Path(data_dir or settings.data_dir or ".scheduler").resolve()
    asyncio.run(_Dev(Container(settings), replicas, app or DEMO_APP, folder, seconds).run())


@dataclass(slots=True)
class _Dev:
    """One run of `scheduler dev`."""

    container: Container
    count: int
    app: str
    folder: Path
    seconds: float | None
    children: list[asyncio.subprocess.Process] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    face: DevApiServer | None = None

    async def run(self) -> None:
        StopSignals(self.asked.set, tell=_tell, abandon=self._remove_handle)
        if self.seconds is not None:
            asyncio.get_running_loop().call_later(self.seconds, self.asked.set)
        try:
            await self.container.prepare()
            console.print(f"servers up: {self.container.servers} (data in {self.folder})", markup=False, soft_wrap=True)
            self.face = await DevApiServer.open(self.container, self._environment)
            self.children = [await self._spawn() for _ in range(self.count)]
            if self.children:
                await self._all_up()
            self._write_handle()
            self._greet()
            watching = asyncio.create_task(self._watch(), name="watch")
            await self.asked.wait()
            await end_tasks(watching)
        finally:
            if self.face is not None:
                await self.face.close()
            await self._stop_children()
            self._remove_handle()
            await self._farewell()
            await self.container.close()

    async def _spawn(self) -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduler_core.cli",
            "run",
            "--app",
            self.app,
            "--no-api",
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C is ours: passed on as well, it would reach them twice, and twice means at once.
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()),
        )
        end_with_us(child)
        return child

    def _environment(self) -> Mapping[str, str]:
        # By environment, not by argument: arguments show in the list of processes.
        return os.environ | {
            "SCHEDULER_DATABASE_URL": self.container.database_url,
            "SCHEDULER_REDIS_URL": self.container.redis_url,
            "SCHEDULER_DASK_ADDRESS": self.container.settings.dask_address or "local",
            "SCHEDULER_LOG_LEVEL": os.environ.get("SCHEDULER_LOG_LEVEL", "WARNING"),
        }

    async def _all_up(self) -> None:
        """Wait until somebody leads and every replica has registered."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and not self.asked.is_set():
            status = await leader_status(self.container)
            alive = {replica["pid"] for replica in status["replicas"]}
            if status["instance_id"] is not None and alive >= {child.pid for child in self.children}:
                return
            dead = [child for child in self.children if child.returncode is not None]
            if dead:
                raise SchedulerError(
                    f"a replica ended with exit code {dead[0].returncode} before it took part: its message is above"
                )
            await self._pause(0.05)
        if not self.asked.is_set():
            raise ServerUnreachableError(f"the replicas did not come up within {START_TIMEOUT_SECONDS:g} s")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.asked.wait()
        except TimeoutError:
            return

    def _write_handle(self) -> None:
        """`dev.json`: how programs find what runs here. Readable by its owner only: it holds passwords."""
        # Where the servers are somebody else's, nothing has made the folder yet.
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = self.folder / "dev.json"
        fresh = self.folder / "dev.json.new"
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(
                {
                    "database_url": self.container.database_url,
                    "redis_url": self.container.redis_url,
                    "replicas": [child.pid for child in self.children],
                    **({} if self.face is None else self.face.handle),
                },
                file,
                indent=2,
            )
        fresh.replace(handle)

    def _remove_handle(self) -> None:
        """Take our own handle away, not that of another `dev` on the same folder."""
        handle = self.folder / "dev.json"
        try:
            ours = json.loads(handle.read_text(encoding="utf-8"))["replicas"] == [c.pid for c in self.children]
        except (OSError, ValueError, KeyError):
            return
        if ours:
            handle.unlink(missing_ok=True)

    def _greet(self) -> None:
        if self.face is not None:
            console.print(f"API and dashboard: {self.face.url}", markup=False, soft_wrap=True)
            console.print(f"  token, until this ends: {self.face.token}", markup=False, soft_wrap=True, highlight=False)
        if not self.children:
            console.print(f"ready; addresses in {self.folder / 'dev.json'}", markup=False, soft_wrap=True)
            return
        pids = ", ".join(str(child.pid) for child in self.children)
        up = "1 replica" if len(self.children) == 1 else f"{len(self.children)} replicas"
        console.print(f"{up} up (pids {pids}). In another terminal, from this folder:")
        console.print("  .venv/bin/scheduler runs list      what ran", markup=False)
        console.print("  .venv/bin/scheduler leader status  who leads; kill -9 its pid and watch here", markup=False)

    async def _watch(self) -> None:
        """Restart what dies, and tell what happens."""
        term, summarized_at = 0, time.monotonic()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._restart_the_dead()
            if self.face is not None:
                await self.face.restart_if_dead()
            try:
                leader = await self.container.get_audit().leader()
                if leader["term"] != term and leader["instance_id"] is not None:
                    await self._tell_takeover(term, leader)
                    term = leader["term"]
                if time.monotonic() - summarized_at >= SUMMARY_SECONDS:
                    summarized_at = time.monotonic()
                    await self._summarize()
            except SchedulerError as error:
                console.print(f"the servers do not answer: {error}", markup=False)

    async def _restart_the_dead(self) -> None:
        for index, child in enumerate(self.children):
            if child.returncode is None:
                continue
            now = time.monotonic()
            self.restarts = [at for at in self.restarts if now - at < 60]
            if len(self.restarts) >= MAX_RESTARTS_PER_MINUTE:
                continue
            self.restarts.append(now)
            console.print(f"replica {child.pid} ended ({_how(child.returncode)}); starting another")
            self.children[index] = await self._spawn()
            self._write_handle()

    async def _tell_takeover(self, former: int, leader: Mapping[str, Any]) -> None:
        terms = await self.container.get_audit().terms(limit=1)
        gap = terms[0]["leaderless_for"] if terms else None
        after = (
            f", {gap / timedelta(milliseconds=1):.0f} ms after the former leader was missed" if former and gap else ""
        )
        console.print(f"term {leader['term']}: pid {leader['pid']} leads{after}")

    async def _summarize(self) -> None:
        tally = await self.container.get_audit().tally(since_seconds=SUMMARY_SECONDS)
        counts = ", ".join(f"{count} {status}" for status, count in sorted(tally["statuses"].items())) or "none"
        late = (
            ""
            if tally["p99"] is None
            else f"; lateness p50 {tally['p50'] * 1e3:.1f} ms, p99 {tally['p99'] * 1e3:.1f} ms"
        )
        console.print(f"runs of the last {SUMMARY_SECONDS:g} s: {counts}{late}")

    async def _farewell(self) -> None:
        try:
            tally = await self.container.get_audit().tally(since_seconds=None)
        except SchedulerError:
            return
        counts = ", ".join(f"{count} {status}" for status, count in sorted(tally["statuses"].items())) or "none"
        console.print(f"stopped; runs in the history: {counts}")

    async def _stop_children(self) -> None:
        for child in self.children:
            if child.returncode is None:
                child.terminate()
        for child in self.children:
            try:
                async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()


def _tell(line: str) -> None:
    console.print(f"scheduler dev: {line}", markup=False, soft_wrap=True)


def _how(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return signal.Signals(-returncode).name
    return f"exit code {returncode}"
