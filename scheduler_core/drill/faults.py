"""The faults, as a table: what each does, what it needs, how it is injected. A strike says how it is healed.

A strike reads the clock immediately before it acts, with no round trip in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.drill import failover_faults, injection, postgres_faults, redis_faults, server_faults
from scheduler_core.drill.injection import Inject
from scheduler_core.drill.pairs import ends_leader, pairs
from scheduler_core.drill.proxy import LinkState, Mode
from scheduler_core.drill.schedule import FAULT_NAMES, DrillPlan
from scheduler_core.drill.servers import Equipment
from scheduler_core.drill.stage import Stage

Prepare = Callable[[Stage], Awaitable[None]]

HOLE = Mode.BLACKHOLE
NOTHING_MORE = Equipment()
NO_PROXY: frozenset[str] = frozenset()


class Turn(IntEnum):
    """Of several faults at once, which strikes first: one that needs the others' victims to be well."""

    ASKS = 1
    """It has a callback obey, or a replica join."""
    SPEAKS = 2
    """It says something to a server."""
    CUTS = 3
    """It hits a process or a connection."""
    FELLS = 4
    """It takes a server down."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    says: str
    """What it does, in one line, for people."""
    inject: Inject
    ends_term: bool = False
    """The leader that is hit can't go on: the first fire is one of a later term."""
    breaks_server: str | None = None
    """The server that it hits, which must be the drill's own then."""
    proxied: frozenset[str] = NO_PROXY
    """The servers that replicas reach through a proxy, so that it can hit."""
    bars_seat: bool = False
    """Nobody can be seated while it lasts."""
    turn: Turn = Turn.CUTS
    needs: Equipment = NOTHING_MORE
    prepare: Prepare | None = None
    """What takes its time and has to be there before it can strike."""


def _link(server: str, up: Mode, down: Mode, delay_ms: int = 0) -> Inject:
    return partial(server_faults.set_link, server=server, link_state=LinkState(up, down, delay_ms))


_REDIS, _POSTGRES = frozenset({"redis"}), frozenset({"postgres"})

_TABLE: tuple[Fault, ...] = (
    Fault("kill", "the leader is killed with -9", injection.kill, True),
    Fault(
        "term",
        "the leader is asked to stop (SIGTERM) while a 30 s run is under way",
        injection.term,
        True,
        turn=Turn.ASKS,
    ),
    Fault("stop", "the leader is stopped (SIGSTOP) for 2 TTL", partial(injection.stop, ttls=2), True),
    Fault("stop-0.5", "the leader is stopped for half a TTL", partial(injection.stop, ttls=0.5)),
    Fault("stop-1", "the leader is stopped for a TTL", partial(injection.stop, ttls=1)),
    Fault("stop-2", "the leader is stopped for 2 TTL", partial(injection.stop, ttls=2), True),
    Fault("stop-10", "the leader is stopped for 10 TTL", partial(injection.stop, ttls=10), True),
    Fault(
        "block-2",
        "a callback blocks the leader's event loop for 2 s",
        partial(injection.block, seconds=2),
        turn=Turn.ASKS,
    ),
    # Longer than `stall_timeout`: the leader gives up of its own accord.
    Fault(
        "block-20",
        "a callback blocks the leader's event loop for 20 s",
        partial(injection.block, seconds=20),
        True,
        turn=Turn.ASKS,
    ),
    Fault(
        "suicide", "a callback kills its own process", partial(injection.suicide, job="suicidal"), True, turn=Turn.ASKS
    ),
    Fault(
        "fork",
        "a callback forks a child, then its process dies",
        partial(injection.suicide, job="forks"),
        True,
        turn=Turn.ASKS,
    ),
    Fault(
        "kill-locked",
        "the leader is killed inside a job that holds a lock",
        injection.kill_locked,
        True,
        turn=Turn.ASKS,
    ),
    Fault("on-the-dot", "the leader is killed exactly on a due instant", injection.kill_on_the_dot, True),
    Fault("follower-kill", "a follower is killed with -9", injection.kill_follower),
    Fault(
        "redis-down",
        "Redis is killed and started again after 2 TTL",
        server_faults.redis_down,
        breaks_server="Redis",
        turn=Turn.FELLS,
    ),
    Fault(
        "redis-empty",
        "Redis is killed and comes back empty",
        server_faults.redis_empty,
        breaks_server="Redis",
        turn=Turn.FELLS,
    ),
    Fault(
        "redis-flush",
        "Redis forgets everything (FLUSHALL)",
        server_faults.redis_flush,
        breaks_server="Redis",
        turn=Turn.SPEAKS,
    ),
    Fault(
        "redis-reset",
        "the leader's connections to Redis are reset, for 2.5 TTL",
        _link("redis", Mode.RESET, Mode.RESET),
        proxied=_REDIS,
    ),
    Fault(
        "redis-blackhole",
        "the leader and Redis hear nothing of each other, for 2.5 TTL",
        _link("redis", HOLE, HOLE),
        proxied=_REDIS,
    ),
    Fault(
        "redis-blackhole-up",
        "Redis hears nothing of the leader, for 2.5 TTL",
        _link("redis", HOLE, Mode.PASS),
        proxied=_REDIS,
    ),
    Fault(
        "redis-blackhole-down",
        "the leader hears nothing of Redis, for 2.5 TTL",
        _link("redis", Mode.PASS, HOLE),
        proxied=_REDIS,
    ),
    Fault(
        "redis-delay",
        "each word between the leader and Redis takes 200 ms, for 2.5 TTL",
        _link("redis", Mode.DELAY, Mode.DELAY, 200),
        proxied=_REDIS,
    ),
    Fault(
        "redis-noreplicas",
        "Redis takes no writes (NOREPLICAS): it wants a replica and has none, for 2.5 TTL",
        redis_faults.no_replicas,
        breaks_server="Redis",
        turn=Turn.SPEAKS,
    ),
    Fault(
        "redis-misconf",
        "Redis takes no writes (MISCONF): it can't save its dump, for 2.5 TTL",
        redis_faults.failing_save,
        breaks_server="Redis",
        turn=Turn.SPEAKS,
    ),
    Fault(
        "redis-wrongtype",
        "a list lies in Redis where the lease should (WRONGTYPE), for 2.5 TTL",
        redis_faults.wrong_type,
        turn=Turn.SPEAKS,
    ),
    Fault(
        "redis-foreign",
        "somebody's lease that never expires lies in Redis, for 2.5 TTL",
        redis_faults.foreign,
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-kill",
        "Postgres is killed with -9 and started again",
        server_faults.pg_kill,
        breaks_server="Postgres",
        bars_seat=True,
        turn=Turn.FELLS,
    ),
    Fault(
        "pg-restart",
        "Postgres is stopped as in a crash and started",
        server_faults.pg_restart,
        breaks_server="Postgres",
        bars_seat=True,
        turn=Turn.FELLS,
    ),
    Fault(
        "pg-terminate",
        "Postgres ends each of the leader's sessions, all at once",
        server_faults.pg_terminate,
        proxied=_POSTGRES,
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-terminate-control",
        "Postgres ends the leader's control session, which holds its witnesses",
        server_faults.pg_terminate_control,
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-reset",
        "the leader's connections to Postgres are reset, for 2.5 TTL",
        _link("postgres", Mode.RESET, Mode.RESET),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-blackhole",
        "the leader and Postgres hear nothing of each other, for 2.5 TTL",
        _link("postgres", HOLE, HOLE),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-blackhole-up",
        "Postgres hears nothing of the leader, for 2.5 TTL",
        _link("postgres", HOLE, Mode.PASS),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-blackhole-down",
        "the leader hears nothing of Postgres, for 2.5 TTL",
        _link("postgres", Mode.PASS, HOLE),
        True,
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-delay",
        "each word between the leader and Postgres takes 50 ms, for 2.5 TTL",
        _link("postgres", Mode.DELAY, Mode.DELAY, 50),
        proxied=_POSTGRES,
    ),
    Fault(
        "pg-readonly",
        "Postgres turns read-only (default_transaction_read_only), for 2.5 TTL",
        partial(postgres_faults.changed_default, name="default_transaction_read_only", value="on"),
        breaks_server="Postgres",
        bars_seat=True,
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-serializable",
        "Postgres's default isolation becomes serializable, for 2.5 TTL",
        partial(postgres_faults.changed_default, name="default_transaction_isolation", value="serializable"),
        breaks_server="Postgres",
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-publication",
        "somebody publishes all tables (CREATE PUBLICATION … FOR ALL TABLES), for 2.5 TTL",
        postgres_faults.publication,
        breaks_server="Postgres",
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-snapshot",
        "a transaction with an id and a snapshot is left open, for 2.5 TTL",
        postgres_faults.snapshot,
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-full",
        "each row written into runs is refused as on a full disk (53100, by a trigger), for 2.5 TTL",
        postgres_faults.full_disk,
        turn=Turn.SPEAKS,
    ),
    Fault(
        "pg-rights",
        "the replicas' role loses its rights on all tables, for 2.5 TTL",
        postgres_faults.rights,
        breaks_server="Postgres",
        bars_seat=True,
        turn=Turn.SPEAKS,
        needs=Equipment(plain_role=True),
    ),
    Fault(
        "pg-clock",
        "the database's clock is eight hours off, as replicas read it, for 2.5 TTL",
        postgres_faults.clock,
        breaks_server="Postgres",
        turn=Turn.SPEAKS,
        needs=Equipment(clock=True),
    ),
    Fault(
        "pg-failover",
        "the primary is killed, an asynchronous standby up to 400 ms behind is promoted",
        failover_faults.fail_over,
        breaks_server="Postgres",
        bars_seat=True,
        turn=Turn.FELLS,
        needs=Equipment(standby=True),
        prepare=partial(failover_faults.make_standby, synchronous=False),
    ),
    Fault(
        "pg-failover-sync",
        "the primary is killed, a synchronous standby is promoted",
        failover_faults.fail_over_synchronously,
        breaks_server="Postgres",
        bars_seat=True,
        turn=Turn.FELLS,
        needs=Equipment(standby=True),
        prepare=partial(failover_faults.make_standby, synchronous=True),
    ),
    Fault(
        "pg-moved",
        "a standby is promoted, the former primary keeps its sessions for 2.5 TTL, only reads, and takes no new one",
        failover_faults.move_endpoint,
        breaks_server="Postgres",
        bars_seat=True,
        turn=Turn.FELLS,
        needs=Equipment(standby=True),
        prepare=partial(failover_faults.make_standby, synchronous=False),
    ),
    Fault(
        "skew",
        "a replica with a wrong wall clock joins, then the leader is killed",
        injection.skew,
        True,
        turn=Turn.ASKS,
    ),
    Fault(
        "two", "two different faults at once, each pair of kinds that can be combined in its turn", injection.nothing
    ),
    Fault("all-down", "all replicas are killed; new ones start after a while", injection.all_down, True),
)

FAULTS: Mapping[str, Fault] = {name: next(fault for fault in _TABLE if fault.name == name) for name in FAULT_NAMES}
"""In the order of `FAULT_NAMES`."""


def involved(plan: DrillPlan) -> list[Fault]:
    """The faults of a plan, and those that `two` may draw."""
    names = set(plan.faults)
    if "two" in names:
        names |= {kind for pair in pairs(embedded=plan.staging is None) for kind in pair}
    return [FAULTS[name] for name in FAULT_NAMES if name in names]


def equipment(faults: Sequence[Fault]) -> Equipment:
    """What these faults need, all together."""
    return Equipment(
        standby=any(fault.needs.standby for fault in faults),
        plain_role=any(fault.needs.plain_role for fault in faults),
        clock=any(fault.needs.clock for fault in faults),
    )


def ends_a_term(kinds: Sequence[str]) -> bool:
    """Whether the leader that these faults hit at once can't go on in its term.

    One that is only held up or cut off may, where nobody can be seated in its stead meanwhile.
    """
    faults = [FAULTS[kind] for kind in kinds]
    if any(fault.bars_seat for fault in faults):
        faults = [fault for fault in faults if ends_leader(fault.name)]
    return any(fault.ends_term for fault in faults)


def in_turn(kinds: Sequence[str]) -> list[str]:
    """Faults that hit at once, in the order in which they strike."""
    return sorted(kinds, key=lambda kind: FAULTS[kind].turn)


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
