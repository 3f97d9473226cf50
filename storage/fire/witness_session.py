"""What a session must be for its locks to be witnesses: a server process of its own, ended when its client ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg


async def settle_witness_session(
    session: asyncpg.Connection[Any], *, ttl_seconds: float, lock_timeout_seconds: float
) -> float:
    """Have the server end the session of a client that stopped or vanished before its lease's TTL is over.

    Parameters: session; ttl_seconds, the lease's; lock_timeout_seconds, what a statement waits for a row.
    Returns for how many seconds a wait for a witness may last at once.
    """
    # A stopped process keeps its socket: the server itself must end the session, and with it the witness,
    # when the pings (at least four in a TTL) stay away, and before the TTL is over. A peer that vanished without a
    # word likewise.
    idle_ms = int(ttl_seconds * 950)
    await session.execute(
        f"SELECT set_config('idle_session_timeout', '{idle_ms}', false), "
        f"set_config('tcp_user_timeout', '{idle_ms}', false), "
        "set_config('tcp_keepalives_idle', '1', false), "
        "set_config('tcp_keepalives_interval', '1', false), "
        "set_config('tcp_keepalives_count', '3', false), "
        "set_config('client_connection_check_interval', '100', false), "
        "set_config('idle_in_transaction_session_timeout', '1000', false), "
        f"set_config('lock_timeout', '{int(lock_timeout_seconds * 1000)}', false)"
    )
    deadlock_ms: int = await session.fetchval("SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'")
    # A wait that outlasts deadlock_timeout starts the deadlock detector and may be logged.
    return max(0.05, min(0.7, ttl_seconds / 4, deadlock_ms / 1000 * 0.7))


async def is_direct(
    session: asyncpg.Connection[Any], connect_probe: Callable[[], Awaitable[asyncpg.Connection[Any]]]
) -> bool:
    """Whether this session has a server process of its own, in one transaction and in the next.

    Postgres greets a client with the process id of its backend; a pooler must greet before it has one, and so
    greets with a number of its own. One that repeats a backend's number is found by a second connection: it
    takes a process for itself, for as long as a transaction lasts. If that is ours, or if we get another one
    now, there is a pooler. (The second test alone is blind while other clients of the pooler are busy.)
    """
    pid = await session.fetchval("SELECT pg_backend_pid()")
    if pid != session.get_server_pid():
        return False
    probe = await connect_probe()
    try:
        async with probe.transaction():
            taken = await probe.fetchval("SELECT pg_backend_pid()")
            again = await session.fetchval("SELECT pg_backend_pid()")
        return bool(pid == again and pid != taken)
    finally:
        probe.terminate()
