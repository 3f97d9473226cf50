"""What `web.simulator` starts as a process: a question on a line of stdin, its answer on a line of stdout."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import sys

from scheduler_core.cli.app import run

IDLE_SECONDS = 600.0
"""Without a question, after which the memory is given back."""


def main() -> None:
    """Answer until nobody asks any more."""
    with contextlib.suppress(OSError):
        os.nice(19)
    # Whatever else writes to stdout must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    while select.select([0], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        question = json.loads(line)
        os.environ.update(question["environment"])
        print(json.dumps(answer(question["words"])), file=answers, flush=True)


def answer(words: list[str]) -> dict[str, object]:
    """What the command says."""
    sys.argv[:] = ["scheduler", "simulate", *words]
    output, errors = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            run()
        except SystemExit as end:
            code = end.code or 0
    return {"code": code if isinstance(code, int) else 1, "output": output.getvalue(), "errors": errors.getvalue()}


if __name__ == "__main__":
    main()
