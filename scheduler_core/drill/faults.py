"""The faults, as a table: what each does, what it needs, how it strikes. A strike says how it is healed.

A strike reads the clock immediately before it acts, with no round trip in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.drill import server_strikes, strikes
from scheduler_core.drill.proxy import Mode, Weather
from scheduler_core.drill.schedule import FAULT_NAMES, PROCESS_FAULTS, SERVER_FAULTS, STAGING_SECOND_FAULTS, DrillPlan
from scheduler_core.drill.strikes import Strike

HOLE = Mode.BLACKHOLE
NO_PROXY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    says: str
    """What it does, in one line, for people."""
    strike: Strike
    ends_term: bool = False
    """The leader that is hit can't go on: the first fire is one of a later term."""
    breaks_server: str | None = None
    """The server that it hits, which must be the drill's own then."""
    proxied: frozenset[str] = NO_PROXY
    """The servers that replicas reach through a proxy, so that it can hit."""


def _weather(server: str, up: Mode, down: Mode, delay_ms: int = 0) -> Strike:
    return partial(server_strikes.weather, server=server, weather=Weather(up, down, delay_ms))


_REDIS, _POSTGRES = frozenset({"redis"}), frozenset({"postgres"})

_TABLE: tuple[Fault, ...] = (
    Fault("kill", "the leader is killed with -9", strikes.kill, True),
    Fault("term", "the leader is asked to stop (SIGTERM) while a 30 s run is under way", strikes.term, True),
    Fault("stop", "the leader is stopped (SIGSTOP) for 2 TTL", partial(strikes.stop, ttls=2), True),
    Fault("stop-0.5", "the leader is stopped for half a TTL", partial(strikes.stop, ttls=0.5)),
    Fault("stop-1", "the leader is stopped for a TTL", partial(strikes.stop, ttls=1)),
    Fault("stop-2", "the leader is stopped for 2 TTL", partial(strikes.stop, ttls=2), True),
    Fault("stop-10", "the leader is stopped for 10 TTL", partial(strikes.stop, ttls=10), True),
    Fault("block-2", "a callback blocks the leader's event loop for 2 s", partial(strikes.block, seconds=2)),
    # Longer than `stall_timeout`: the leader gives up of its own accord.
    Fault("block-20", "a callback blocks the leader's event loop for 20 s", partial(strikes.block, seconds=20), True),
    Fault("suicide", "a callback kills its own process", partial(strikes.suicide, job="suicidal"), True),
    Fault("fork", "a callback forks a child, then its process dies", partial(strikes.suicide, job="forks"), True),
    Fault("kill-locked", "the leader is killed inside a job that holds a lock", strikes.kill_locked, True),
    Fault("on-the-dot", "the leader is killed exactly on a due instant", strikes.kill_on_the_dot, True),
    Fault("follower-kill", "a follower is killed with -9", strikes.kill_follower),
    Fault(
        "redis-down", "Redis is killed and started again after 2 TTL", server_strikes.redis_down, breaks_server="Redis"
    ),
    Fault("redis-empty", "Redis is killed and comes back empty", server_strikes.redis_empty, breaks_server="Redis"),
    Fault("redis-flush", "Redis forgets everything (FLUSHALL)", server_strikes.redis_flush, breaks_server="Redis"),
    Fault(
        "redis-reset",
        "the leader's connections to Redis are reset, for 2.5 TTL",
        _weather("redis", Mode.RESET, Mode.RESET),
        proxied=_REDIS,
    ),
    Fault(
        "redis-blackhole",
        "the leader and Redis hear nothing of each other, for 2.5 TTL",
        _weather("redis", HOLE, HOLE),
        proxied=_REDIS,
    ),
    Fault(
        "redis-blackhole-up",
        "Redis hears nothing of the leader, for 2.5 TTL",
        _weather("redis", HOLE, Mode.PASS),
        proxied=_REDIS,
    ),
    Fault(
        "redis-blackhole-down",
        "the leader hears nothing of Redis, for 2.5 TTL",
        _weather("redis", Mode.PASS, HOLE),
        proxied=_REDIS,
    ),
    Fault(
        "redis-delay",
        "each word between the leader and Redis takes 200 ms, for 2.5 TTL",
        _weather("redis", Mode.DELAY, Mode.DELAY, 200),
        proxied=_REDIS,
    ),
    Fault("pg-kill", "Postgres is killed with -9 and started again", server_strikes.pg_kill, breaks_server="Postgres"),
    Fault(
        "pg-restart",
        "Postgres is stopped as in a crash and started",
        server_strikes.pg_restart,
        breaks_server="Postgres",
    ),
    Fault(
        "pg-terminate",
        "Postgres ends each of the leader's sessions, all at once",
        server_strikes.pg_terminate,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-terminate-control",
        "Postgres ends the leader's control session, which holds its witnesses",
        server_strikes.pg_terminate_control,
    ),
    Fault(
        "pg-reset",
        "the leader's connections to Postgres are reset, for 2.5 TTL",
        _weather("postgres", Mode.RESET, Mode.RESET),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-blackhole",
        "the leader and Postgres hear nothing of each other, for 2.5 TTL",
        _weather("postgres", HOLE, HOLE),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-blackhole-up",
        "Postgres hears nothing of the leader, for 2.5 TTL",
        _weather("postgres", HOLE, Mode.PASS),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-blackhole-down",
        "the leader hears nothing of Postgres, for 2.5 TTL",
        _weather("postgres", Mode.PASS, HOLE),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-delay",
        "each word between the leader and Postgres takes 50 ms, for 2.5 TTL",
        _weather("postgres", Mode.DELAY, Mode.DELAY, 50),
        proxied=_POSTGRES,
    ),
    Fault("skew", "a replica with a wrong wall clock joins, then the leader is killed", strikes.skew, True),
    Fault("two", "two different faults at once: one hits a process, one a server", strikes.nothing),
    Fault("all-down", "all replicas are killed; new ones start after a while", strikes.all_down, True),
)

FAULTS: Mapping[str, Fault] = {name: next(fault for fault in _TABLE if fault.name == name) for name in FAULT_NAMES}
"""In the order of `FAULT_NAMES`."""


def involved(plan: DrillPlan) -> list[Fault]:
    """The faults of a plan, and those that `two` may draw."""
    names = set(plan.faults)
    if "two" in names:
        names |= {*PROCESS_FAULTS, *(SERVER_FAULTS if plan.staging is None else STAGING_SECOND_FAULTS)}
    return [FAULTS[name] for name in FAULT_NAMES if name in names]


def check_faults(faults: Sequence[Fault], *, embedded: bool, proxiable: Callable[[str], bool]) -> None:
    """Raise InvalidSettingsError for a fault that these servers don't allow. It says which one, and why."""
    for fault in faults:
        if fault.breaks_server is not None and not embedded:
            raise InvalidSettingsError(
                f"the fault {fault.name!r} hits {fault.breaks_server} itself, and these servers are not the drill's "
                "own: leave it out, or drill on embedded servers"
            )
        for server in sorted(fault.proxied):
            if not proxiable(server):
                raise InvalidSettingsError(
                    f"the fault {fault.name!r} needs a relay before the servers, which TLS that checks names, a socket "
                    "file, a list of hosts or control_database_url rule out: leave it out"
                )
