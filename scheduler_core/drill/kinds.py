"""What is true of each kind of fault: one row each. Pure; `drill.faults` says how each is injected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Excuses(Enum):
    """Whose call may be made a second time because of a fault."""

    THE_VICTIM = auto()
    """That of the leader that it hit: it died, was stopped, or was cut off from Postgres."""
    EVERYBODY = auto()
    """Any: it kills every replica, or cuts it off from Postgres or from writing there, and not only the leader. An
    outcome that can't be recorded is not known to the next leader."""
    NOBODY = auto()
    """None: it stops no leader and cuts none off from Postgres, which decides. A call that is repeated because of it is
    a finding. (Where a process died as well, its death excuses.)"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Parameters: holds, what it takes hold of, and two that take hold of one thing can't hit at once; None for a kind
    that is never drawn for a pair. on_any_servers, whether it needs neither servers of the drill's own nor a relay
    before them.
    """

    name: str
    holds: tuple[str, ...] | None
    excuses: Excuses = Excuses.THE_VICTIM
    on_any_servers: bool = False


THE_LEADER = ("leader", "leader's Redis", "leader's Postgres")
"""A process that ends takes its connections along."""
THE_REDIS = ("Redis", "Redis's data", "Redis's replicas", "Redis's dump")

_TABLE = (
    Kind("kill", THE_LEADER, on_any_servers=True),
    Kind("term", THE_LEADER, on_any_servers=True),
    Kind("stop", None),
    Kind("stop-0.5", ("leader",), on_any_servers=True),
    Kind("stop-1", ("leader",), on_any_servers=True),
    Kind("stop-2", ("leader",), on_any_servers=True),
    Kind("stop-10", ("leader",), on_any_servers=True),
    Kind("block-2", ("leader",), on_any_servers=True),
    Kind("block-20", ("leader",), on_any_servers=True),
    Kind("suicide", THE_LEADER, on_any_servers=True),
    Kind("fork", THE_LEADER, excuses=Excuses.NOBODY, on_any_servers=True),
    Kind("kill-locked", THE_LEADER, on_any_servers=True),
    Kind("on-the-dot", THE_LEADER, on_any_servers=True),
    Kind("follower-kill", ("followers",), excuses=Excuses.NOBODY, on_any_servers=True),
    Kind("redis-down", THE_REDIS, excuses=Excuses.NOBODY),
    Kind("redis-empty", THE_REDIS, excuses=Excuses.NOBODY),
    Kind("redis-flush", ("Redis's data",), excuses=Excuses.NOBODY),
    Kind("redis-reset", ("leader's Redis",)),
    Kind("redis-blackhole", ("leader's Redis",)),
    Kind("redis-blackhole-up", ("leader's Redis",)),
    Kind("redis-blackhole-down", ("leader's Redis",)),
    Kind("redis-delay", ("leader's Redis",)),
    Kind("redis-noreplicas", ("Redis's replicas",), excuses=Excuses.NOBODY),
    Kind("redis-misconf", ("Redis's dump",), excuses=Excuses.NOBODY),
    Kind("redis-wrongtype", ("Redis's data",), excuses=Excuses.NOBODY, on_any_servers=True),
    Kind("redis-foreign", ("Redis's data",), excuses=Excuses.NOBODY, on_any_servers=True),
    Kind("pg-kill", ("Postgres",), excuses=Excuses.EVERYBODY),
    Kind("pg-restart", ("Postgres",), excuses=Excuses.EVERYBODY),
    Kind("pg-terminate", ("leader's Postgres",)),
    Kind("pg-terminate-control", ("leader's Postgres",), on_any_servers=True),
    Kind("pg-reset", ("leader's Postgres",)),
    Kind("pg-blackhole", ("leader's Postgres",)),
    Kind("pg-blackhole-up", ("leader's Postgres",)),
    Kind("pg-blackhole-down", ("leader's Postgres",)),
    Kind("pg-delay", ("leader's Postgres",)),
    Kind("pg-readonly", (), excuses=Excuses.EVERYBODY),
    Kind("pg-serializable", (), excuses=Excuses.NOBODY),
    Kind("pg-publication", (), excuses=Excuses.NOBODY),
    Kind("pg-snapshot", (), excuses=Excuses.NOBODY, on_any_servers=True),
    Kind("pg-full", (), excuses=Excuses.EVERYBODY, on_any_servers=True),
    Kind("pg-rights", (), excuses=Excuses.EVERYBODY),
    Kind("pg-clock", (), excuses=Excuses.NOBODY),
    Kind("pg-failover", ("Postgres",), excuses=Excuses.EVERYBODY),
    Kind("pg-failover-sync", ("Postgres",), excuses=Excuses.EVERYBODY),
    Kind("pg-moved", ("Postgres",), excuses=Excuses.EVERYBODY),
    Kind("skew", (*THE_LEADER, "followers"), excuses=Excuses.NOBODY, on_any_servers=True),
    Kind("two", None),
    Kind("all-down", (*THE_LEADER, "followers"), excuses=Excuses.EVERYBODY, on_any_servers=True),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _TABLE}
"""In the order of the command line. `stop` is `stop-2`, and `two` is made of others: neither is drawn for a pair."""
