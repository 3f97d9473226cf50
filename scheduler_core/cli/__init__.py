"""The command `scheduler`: a thin face over the container.

`app` puts the commands together and turns errors into one line and an exit code; `output` prints tables and
JSON; `jobs`, `runs`, `leader` and `doctor` read and change; `replica` runs one replica, `dev` several with their
servers, `demo` holds the jobs that they show.
"""

from __future__ import annotations


def main() -> None:
    """The console script."""
    from scheduler_core.cli.app import run

    run()
