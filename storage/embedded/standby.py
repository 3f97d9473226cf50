"""A streaming standby of an embedded PostgreSQL: made from a running primary, promoted when that has gone.

It has the role, the password and the database of its primary, because it has its files. Promoted, it is a primary like
any other, of which a standby can be made in turn.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

from scheduler_core.domain.errors import EmbeddedServerError
from scheduler_core.storage.embedded.postgres import USER, PostgresServer
from scheduler_core.storage.embedded.process import clear_strays, strays
from scheduler_core.storage.embedded.programs import find_postgres, give, readable_binaries
from scheduler_core.storage.embedded.server import HOST, free_port, write_private, write_state

PASSWORD_FILE = "primary.password"  # noqa: S105 - the file's name


class StandbyServer(PostgresServer):
    """One place for a standby: `copy` it from a primary, `start` it, and it streams.

    Parameters: folder, for its data and its log; port, where it listens (0: a free one), also after it is copied anew;
    lock_fd, as of any server.
    """

    def __init__(self, folder: Path, *, port: int = 0, lock_fd: int | None = None) -> None:
        super().__init__(folder, lock_fd=lock_fd)
        self.port = port or free_port()
        self._pinned = True

    def copy(self, primary: PostgresServer, *, source_port: int) -> None:
        """Make it a standby of a running primary; what it held before is gone.

        Parameters: source_port, where it streams from: the primary's own port, or that of a relay before it.
        Raises EmbeddedServerError.
        """
        self.stop("immediate")
        self.identity = primary.identity
        self.password = primary.password
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        give(self.folder, self.identity)
        clear_strays(self.data, self.program_names)
        if self.data.exists():
            shutil.rmtree(self.data)
        password_file = self.folder / PASSWORD_FILE
        write_private(password_file, f"*:*:*:*:{self.password}\n")
        give(password_file, self.identity)
        write_state(self.folder, self.key, {"port": self.port, "password": self.password, "pid": None})
        programs = readable_binaries(find_postgres(), "postgres", self.folder / "programs", self.identity)
        self._run(
            [
                str(programs / "pg_basebackup"),
                f"--pgdata={self.data}",
                f"--dbname=host={HOST} port={primary.port} user={USER} passfile={password_file}",
                "--checkpoint=fast",
                "--wal-method=stream",
                "--no-sync",
            ],
            self.folder,
        )
        # Not pg_basebackup's own words: the standby may have to stream by another way than it was copied by.
        source = f"host={HOST} port={source_port} user={USER} passfile={password_file} application_name=standby"
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write(f"primary_conninfo = '{source}'\n")
        (self.data / "standby.signal").touch(mode=0o600)
        give(self.data / "standby.signal", self.identity)


def kill_whole(server: PostgresServer) -> None:
    """End a server as a machine that loses its power does: no process of it finishes what it had begun.

    A postmaster that is killed alone leaves its sessions behind for a moment, and what they commit then is acknowledged
    though nobody will ever have it.
    """
    server.signal(signal.SIGKILL)
    for _ in range(50):
        left = strays(server.data.resolve(), server.program_names)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            break
    else:
        raise EmbeddedServerError(f"processes of the server in {server.data} outlive kill -9")
    server.kill()
