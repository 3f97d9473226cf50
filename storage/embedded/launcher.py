"""Start one program, watch over it, and take it down with the process that asked for it.

Run as a script of its own (`python -I -S launcher.py`), so it imports only the standard library: it starts in
some 20 ms. It reads one line of JSON that says what to start, answers with lines of JSON (`pid`, then `exit`;
or `error`), and then waits for whichever comes first:

- a command on its input: `stop` with a plan, or `signal` with a number,
- the end of the program,
- the end of the process that asked. That is seen through a pidfd: the pipe alone would stay open in a child
  which that process had forked.

Should the launcher itself be killed, the kernel ends the program (PR_SET_PDEATHSIG). That signal is bound to the
*thread* that forked; here this is the only thread of the launcher, so threads of the asking process may come
and go.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOBODY = 65534
TICK_MS = 500  # how often the parent is looked at where there is no pidfd

Plan = list[tuple[int, float]]
"""Signals in order of severity, each with the seconds it is given."""


def main() -> int:
    """Read what to start, start it, report its pid, stay until it ended."""
    if sys.argv[1:] == ["probe"]:
        enter_namespace()
        return 0
    os.umask(0o077)
    spec = json.loads(sys.stdin.buffer.readline())
    parent = os.getppid()
    if spec["lock_fd"] is not None:
        os.set_inheritable(spec["lock_fd"], False)  # ours to hold; a server that outlives us is dealt with
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        # Ctrl-C or a service manager's stop reaches the application too: it may still want to write its last
        # results. The servers end when it has ended.
        signal.signal(ignored, signal.SIG_IGN)
    wakeup, wakeup_end = os.pipe()
    os.set_blocking(wakeup_end, False)
    signal.set_wakeup_fd(wakeup_end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        pid = spawn(spec)
    except OSError as error:
        say(error=f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
        return 1
    say(pid=pid)
    say(exit=watch(pid, parent, [(int(n), float(s)) for n, s in spec["orphan_plan"]], wakeup))
    return 0


def say(**what: Any) -> None:
    """Tell the parent; it may be gone already."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(what).encode() + b"\n")


def watch(pid: int, parent: int, orphan_plan: Plan, wakeup: int) -> int:
    """Wait for the program's end, hastening it when told to or when the parent is gone. Return its exit status."""
    poller = select.poll()
    poller.register(wakeup, select.POLLIN)
    poller.register(0, select.POLLIN)
    parent_fd = open_pidfd(parent)
    if parent_fd is not None:
        poller.register(parent_fd, select.POLLIN)
    commands = b""
    plan: Plan = []
    next_step = float("inf")
    orphaned = False
    while True:
        if not orphaned and os.getppid() != parent:
            orphaned, plan, next_step = True, list(orphan_plan), 0.0
            if parent_fd is not None:
                poller.unregister(parent_fd)
        while plan and time.monotonic() >= next_step:
            number, patience = plan.pop(0)
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # a stopped process would never see the polite signals
            next_step = time.monotonic() + patience
        remaining = (next_step - time.monotonic()) * 1000 if plan else float("inf")
        ready = dict(poller.poll(max(1, min(TICK_MS if parent_fd is None else 60_000, remaining))))
        if wakeup in ready:
            os.read(wakeup, 512)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        if 0 in ready:
            received = os.read(0, 4096)
            if not received:  # the parent closed the pipe: it is ending, or has forgotten us
                poller.unregister(0)
                if not plan:
                    plan, next_step = list(orphan_plan), 0.0
                continue
            commands += received
            *lines, commands = commands.split(b"\n")
            for line in lines:
                command = json.loads(line)
                if "signal" in command:
                    os.kill(pid, command["signal"])
                else:
                    plan, next_step = [(int(n), float(s)) for n, s in command["stop"]], 0.0


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None


def spawn(spec: dict[str, Any]) -> int:
    """Fork and exec the program. Raises OSError with what went wrong in the child."""
    report, report_end = os.pipe()  # closed by a successful exec
    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            become(spec, launcher)
        except BaseException as error:  # noqa: BLE001 - a forked child must never run on in the parent's code
            os.write(report_end, f"{spec['argv'][0]}: {error}".encode(errors="replace"))
        finally:
            os._exit(127)
    os.close(report_end)
    trouble = b""
    while chunk := os.read(report, 4096):
        trouble += chunk
    os.close(report)
    if trouble:
        os.waitpid(pid, 0)
        raise OSError(trouble.decode(errors="replace"))
    return pid


def become(spec: dict[str, Any], launcher: int) -> NoReturn:
    """Turn this freshly forked child into the program."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    source, source_end = os.pipe()
    os.write(source_end, spec["input"].encode())  # a few lines: a pipe holds them without a reader
    os.close(source_end)
    os.dup2(source, 0)
    os.chdir(spec["cwd"])
    if spec["identity"] == "namespace":
        enter_namespace()
    elif spec["identity"] == "nobody":
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if sys.platform == "linux":
        # A change of credentials clears this, so it comes last; and the launcher may have died before it.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, spec["death_signal"], 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(127)
    os.execve(spec["argv"][0], spec["argv"], spec["env"])


def enter_namespace() -> None:
    """Become uid 65534 in a user namespace of our own; for the rest of the machine nothing changes.

    Postgres refuses to run as root. Seen from inside it does not; files it writes belong to root outside.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are refused here")
    for name, value in (
        ("setgroups", "deny"),  # the kernel wants this before an unprivileged gid_map
        ("uid_map", f"{NOBODY} {user} 1"),
        ("gid_map", f"{NOBODY} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(value)


if __name__ == "__main__":
    sys.exit(main())
