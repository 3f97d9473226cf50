"""The API of `scheduler dev`: a process beside the replicas, and a token that lasts as long as `dev` does."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from scheduler_core.cli.output import console
from scheduler_core.container import Container
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.errors import InvalidSettingsError, SchedulerError
from scheduler_core.runtime.child_processes import die_with_parent, end_with_us
from scheduler_core.web import require_extra

STOP_SECONDS = 10.0
RESTART_SECONDS = 1.0
TOKEN_DAYS = 7.0
"""If `dev` is killed, nobody revokes its token."""


@dataclass(slots=True)
class DevApiServer:
    """A `scheduler web`, on a socket that outlives it: restarted, it is found where it was."""

    container: Container
    environment: Callable[[], Mapping[str, str]]
    listening: socket.socket
    url: str
    token: str
    name: str
    process: asyncio.subprocess.Process | None = None
    started_at: float = 0.0

    @classmethod
    async def open(cls, container: Container, environment: Callable[[], Mapping[str, str]]) -> DevApiServer | None:
        """Serve, and make the token; None where the extra is not installed: the replicas need no face.

        Raises InvalidSettingsError if the port is taken.
        """
        try:
            require_extra()
        except InvalidSettingsError as error:
            console.print(f"no API and no dashboard: {error}", markup=False, soft_wrap=True)
            return None
        from scheduler_core.web.server import listen, url_of

        settings = container.settings
        listening = listen(settings.api_host, settings.api_port or 0)
        name = f"dev-{secrets.token_hex(4)}"
        _, token = await container.get_tokens().create(name, Scope.ADMIN, days=TOKEN_DAYS, by=container.user.name)
        face = cls(container, environment, listening, url_of(listening), token, name)
        await face._start()
        return face

    @property
    def handle(self) -> dict[str, str]:
        """For `dev.json`."""
        return {"api_url": self.url, "api_token": self.token}

    async def _start(self) -> None:
        descriptor = self.listening.fileno()
        self.started_at = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduler_core.cli",
            "web",
            "--fd",
            str(descriptor),
            env=dict(self.environment()),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(descriptor,),
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()),
        )
        end_with_us(self.process)

    async def restart_if_dead(self) -> None:
        """Serve again, at most once a second; requests meanwhile wait in the socket's queue."""
        if self.process is None or self.process.returncode is None:
            return
        if time.monotonic() - self.started_at >= RESTART_SECONDS:
            console.print("the API's process ended; starting another")
            await self._start()

    async def close(self) -> None:
        """Revoke the token, end the process."""
        with suppress(SchedulerError):  # the servers may be gone already
            await self.container.get_tokens().revoke(self.name, by=self.container.user.name)
        self.listening.close()
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
