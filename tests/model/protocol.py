"""The protocol of docs/architecture.md and docs/protocol.md, small enough to try every one of its executions.

A `World` is what Postgres, Redis and the replicas hold at one instant. A `Step` leads from it to another. Each
step is atomic where the real one is (one statement of Postgres, one Lua script of Redis, one look at the trust
window) and nothing else is: a replica pauses by not being the one that steps next. Read the steps from top to
bottom as one would read the life of a replica:

    FOLLOWING → CANDIDATE → LEASED → WITNESSED → LEADING → (RECLAIMING) → FOLLOWING …   the election
    evaluate the fence → commit, answered or not                                      the claim
    begin → mark as running → record                                                  the run
    adopt, reap                                                                       recovery
    crash, cut, restart of Postgres, FLUSHALL, failover of Redis, lost replies        the faults

Time is not counted. A trust window is open or closed, and may close at any instant (`close_window`: SIGSTOP, a
missed beat, a blocked loop). One guard rests on time, and says so where it stands: a run is taken from a living
owner only once the window has closed in which that owner could have begun it (`_may_adopt`). Leadership rests on no
time at all: it may be taken from one that still trusts itself, because the fence protects the record.

A `Mutant` is the protocol with one line off. Each is asked for in exactly the line that it breaks.

`CODE`, at the end, says for each step which code it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from typing import NamedTuple

NO_NONCE = 0
NOBODY = -1
THE_DEAD = -2
"""The owner of whatever a crashed process leaves behind: an `instance_id` is unique per process start, so the
process that starts in its place is somebody else."""

MAX_DELIVERIES = 2


class Mutant(Enum):
    """The protocol with one line off."""

    NO_FOR_SHARE = "the fence is read without a lock"
    FOR_KEY_SHARE = "the fence is locked FOR KEY SHARE"
    CLAIM_WITHOUT_COMPARE = "the term is claimed from whatever the row holds"
    TERM_FROM_REDIS = "the term is an INCR in Redis"
    TWO_TRANSACTIONS = "cursor and run are written in two transactions"
    WITNESS_IS_AUTHORITY = "who holds the advisory lock leads"
    START_WITHOUT_TRUST = "a timer starts its run without asking the trust window"
    LEASE_IS_AUTHORITY = "who took the lease writes, unfenced"
    RECLAIM_WITHOUT_COMPARE = "a leader sits down again without looking who sits there"
    RECORD_WITHOUT_GUARD = "an outcome is recorded whoever owns the run"
    REAP_THE_LIVING = "a run is reaped while its owner's life witness stands"
    LOST_REPLY_LEADS = "a claim of the term whose reply was lost counts as won"
    NO_UNIQUE_KEY = "runs have no unique key"
    ADOPT_IN_THE_WINDOW = "a run is adopted while its living owner may still begin it"
    LEASE_WITHOUT_TTL = "a lease lasts until it is given back"
    LOST_CLAIM_FORGOTTEN = "a leader does not adopt what it claimed itself in this term"


class Phase(Enum):
    """Where a replica stands in the election; see the list above and `domain.trust.State`."""

    DOWN = auto()
    FOLLOWING = auto()
    CANDIDATE = auto()
    LEASED = auto()
    WITNESSED = auto()
    UNANSWERED = auto()
    LEADING = auto()
    RECLAIMING = auto()


class Status(Enum):
    """What the database knows of a run."""

    PENDING = auto()
    RUNNING = auto()
    ENDED = auto()
    MISSED = auto()


class Stage(Enum):
    """How far a replica itself has come with a run. MARKED: the database knows as well that it was begun."""

    TIMER = auto()
    BEGUN = auto()
    MARKED = auto()


class Kind(Enum):
    """What the protocol does by itself, trouble that may come at any time, and faults, which `Bounds` limits."""

    STEP = auto()
    TROUBLE = auto()
    FAULT = auto()


class LeaderRow(NamedTuple):
    """The one row of `leader`."""

    term: int
    nonce: int


class Lease(NamedTuple):
    """The key in Redis: whose token (a nonce; NO_NONCE when absent), and the term that it carries along."""

    token: int
    term: int


NO_LEASE = Lease(NO_NONCE, 0)

_CANDIDATES = frozenset({Phase.LEASED, Phase.WITNESSED, Phase.UNANSWERED})


class Run(NamedTuple):
    """A row of `runs`. `stands_for` occurrences, itself the last; `outcomes` names each recorded attempt's term."""

    status: Status
    owner: int
    term: int
    stands_for: int = 1
    outcomes: tuple[int, ...] = ()
    deliveries: int = 0


class Claim(NamedTuple):
    """A claim whose fence was evaluated and which has not committed; it lives in the server, not in its sender."""

    owner: int
    term: int
    cursor: int
    passes: int
    cursor_moved: bool = False


class Hand(NamedTuple):
    """A run in a replica's hands. `unbroken`: its life witness has stood ever since the attempt began."""

    stage: Stage
    term: int
    unbroken: bool = True


class Replica(NamedTuple):
    """One process. `session` is its control session and with it the life witness; `witness` the nonce whose
    leadership witness is held on it; `trusted` whether the trust window is open; `seen` the row as a candidate
    read it."""

    phase: Phase
    session: bool
    witness: int
    trusted: bool
    term: int
    nonce: int
    seen: LeaderRow | None
    hands: tuple[Hand | None, ...]


class World(NamedTuple):
    """Everything there is. `cursor` is the next occurrence, counted from 0."""

    row: LeaderRow
    lease: Lease
    cursor: int
    runs: tuple[tuple[Run, ...], ...]
    claims: tuple[Claim | None, ...]
    replicas: tuple[Replica, ...]


class Step(NamedTuple):
    """One thing that happens, and the world after it."""

    kind: Kind
    name: str
    after: World


class Bounds(NamedTuple):
    """How far the search goes; within these bounds it leaves nothing out.

    `terms`: no claim of a term goes beyond it. `faults`: how many of them one execution may meet.
    `executes`: whether claimed runs are begun, or the model ends at the claim. `redis`: whether Redis answers at
    all. A world without it is smaller and hides nothing from Postgres: what a lease allows to a candidate, `hold`
    allows without one. `led`: whether replica 0 leads term 1 at the outset, or nobody ever led.
    """

    replicas: int
    occurrences: int
    terms: int
    faults: int
    executes: bool = True
    redis: bool = True
    led: bool = True


Steps = Iterator[Step]


# Small words.


def trusts(replica: Replica, term: int) -> bool:
    """Whether a replica may start a run of this term at this very instant."""
    return replica.phase is Phase.LEADING and replica.trusted and replica.term == term


def leads(world: World, replica: Replica) -> bool:
    """Whether the database agrees that this replica leads."""
    return replica.phase is Phase.LEADING and world.row == (replica.term, replica.nonce)


def _put(world: World, r: int, replica: Replica) -> World:
    return world._replace(replicas=(*world.replicas[:r], replica, *world.replicas[r + 1 :]))


def _write(world: World, k: int, *rows: Run) -> World:
    return world._replace(runs=(*world.runs[:k], rows, *world.runs[k + 1 :]))


def _hold(world: World, r: int, k: int, hand: Hand | None) -> World:
    replica = world.replicas[r]
    return _put(world, r, replica._replace(hands=(*replica.hands[:k], hand, *replica.hands[k + 1 :])))


def _in_flight(world: World, r: int, claim: Claim | None) -> World:
    return world._replace(claims=(*world.claims[:r], claim, *world.claims[r + 1 :]))


def _fresh_nonce(world: World) -> int:
    """Random in life; here one more than any that is remembered."""
    return 1 + max(_nonces(world))


def canonical(world: World) -> World:
    """The same world with its nonces renamed 1, 2, … as they come: nobody asks more of two than whether they differ."""
    if _is_canonical(world):
        return world
    names = {NO_NONCE: NO_NONCE}

    def named(nonce: int) -> int:
        return names.setdefault(nonce, len(names))

    row = world.row._replace(nonce=named(world.row.nonce))
    lease = world.lease._replace(token=named(world.lease.token))
    replicas = tuple(
        me._replace(
            nonce=named(me.nonce),
            witness=named(me.witness),
            seen=me.seen and me.seen._replace(nonce=named(me.seen.nonce)),
        )
        for me in world.replicas
    )
    return world._replace(row=row, lease=lease, replicas=replicas)


def _is_canonical(world: World) -> bool:
    last = NO_NONCE
    for nonce in _nonces(world):
        if nonce > last + 1:
            return False
        last = max(last, nonce)
    return True


def _nonces(world: World) -> Iterator[int]:
    yield world.row.nonce
    yield world.lease.token
    for me in world.replicas:
        yield me.nonce
        yield me.witness
        if me.seen:
            yield me.seen.nonce


def _follower(replica: Replica) -> Replica:
    """Back to FOLLOWING with no claim to anything; what was begun goes on under the life witness."""
    return Replica(Phase.FOLLOWING, replica.session, NO_NONCE, False, 0, NO_NONCE, None, replica.hands)


def _leader(replica: Replica, term: int, nonce: int) -> Replica:
    return Replica(Phase.LEADING, replica.session, nonce, True, term, nonce, None, replica.hands)


def _without_session(replica: Replica) -> Replica:
    hands = tuple(hand and hand._replace(unbroken=False) for hand in replica.hands)
    return replica._replace(session=False, witness=NO_NONCE, hands=hands)


class Protocol:
    """The steps, within `bounds`, with the lines in `mutants` off."""

    def __init__(self, bounds: Bounds, *mutants: Mutant) -> None:
        self.bounds = bounds
        self.mutants = frozenset(mutants)
        each = range(bounds.replicas)
        runs = [(r, k) for r in each for k in range(bounds.occurrences)]
        self._moves: list[Callable[[World], Steps]] = [_bind(move, self) for move in SERVERS]
        for r in each:
            self._moves += [_bind(move, self, r) for move in ELECTION + FAULTS]
            if bounds.occurrences:
                self._moves += [_bind(move, self, r) for move in CLAIMS]
        for r, k in runs:
            self._moves += [_bind(move, self, r, k) for move in RECOVERY]
            if bounds.executes:
                self._moves += [_bind(move, self, r, k) for move in RUNS]
        if bounds.occurrences:
            self._moves += [_bind(move, self) for move in OPERATORS]

    def has(self, mutant: Mutant) -> bool:
        return mutant in self.mutants

    def start(self) -> World:
        """The world at the outset."""
        bounds = self.bounds
        idle = Replica(Phase.FOLLOWING, True, NO_NONCE, False, 0, NO_NONCE, None, (None,) * bounds.occurrences)
        world = World(
            LeaderRow(0, NO_NONCE),
            NO_LEASE,
            0,
            ((),) * bounds.occurrences,
            (None,) * bounds.replicas,
            (idle,) * bounds.replicas,
        )
        if bounds.led:
            world = _put(world, 0, _leader(idle, 1, 1))._replace(row=LeaderRow(1, 1))
            world = world._replace(lease=Lease(1, 1) if bounds.redis else NO_LEASE)
        return world

    def steps(self, world: World) -> Steps:
        """Everything that can happen next."""
        for move in self._moves:
            yield from move(world)


def _bind(move: Callable[..., Steps], protocol: Protocol, *indexes: int) -> Callable[[World], Steps]:
    return lambda world: move(protocol, world, *indexes)


# The election: FOLLOWING.


def see_vacancy(_: Protocol, world: World, r: int) -> Steps:
    """A follower reads the leader's row and finds a sign that the seat is free."""
    me = world.replicas[r]
    if me.phase is Phase.FOLLOWING and me.session:
        kind, why = _evidence(world)
        yield Step(kind, f"{r} sees: {why}", _put(world, r, me._replace(phase=Phase.CANDIDATE, seen=world.row)))


def _evidence(world: World) -> tuple[Kind, str]:
    """Why the seat may be taken. A sign may be wrong; that none is without cause nothing here rests on."""
    nonce = world.row.nonce
    if nonce == NO_NONCE:
        return Kind.STEP, "nobody leads"
    if all(replica.witness != nonce for replica in world.replicas):
        return Kind.STEP, "the witness fell"
    holder = next(replica for replica in world.replicas if replica.witness == nonce)
    if not trusts(holder, world.row.term):
        # Silence lasts for a TTL, and the window closes a margin before: the guard on time.
        return Kind.STEP, "the lease is silent"
    if world.lease.token != nonce:
        # Under `hold` a leader that is cut off from Redis, and only from Redis, goes on trusting Postgres' word.
        return Kind.TROUBLE, "the lease is not the leader's"
    # A pause longer than those that were measured, by a leader whose window is still open and who may go on.
    return Kind.TROUBLE, "the beats stay away"


# The election: CANDIDATE.


def take_lease(protocol: Protocol, world: World, r: int) -> Steps:
    """A candidate takes the lease: free, or still carrying the token of the leader whose death was seen."""
    me = world.replicas[r]
    if me.phase is not Phase.CANDIDATE or me.seen is None:
        return
    nonce = _fresh_nonce(world)
    minted = world.lease.term + 1 if protocol.has(Mutant.TERM_FROM_REDIS) else 0
    standing = me._replace(phase=Phase.LEASED, nonce=nonce, term=minted)
    if not protocol.bounds.redis:
        yield Step(Kind.STEP, f"{r} stands without Redis", _put(world, r, standing))
        return
    if world.lease.token in (NO_NONCE, me.seen.nonce):
        taken = world._replace(lease=Lease(nonce, minted or me.seen.term))
        yield Step(Kind.STEP, f"{r} takes the lease", _put(taken, r, standing))
    else:
        yield Step(Kind.STEP, f"{r} finds the lease taken", _put(world, r, _follower(me)))
    if not minted:
        # Under `hold` an unreadable Redis stops nobody: the compare-and-swap in Postgres decides alone.
        yield Step(Kind.TROUBLE, f"{r} stands without Redis", _put(world, r, standing))


def take_witness(protocol: Protocol, world: World, r: int) -> Steps:
    """The leadership witness under the fresh nonce, before the row names it: nobody sees a leader without one."""
    me = world.replicas[r]
    if me.phase is not Phase.LEASED or not me.session:
        return
    if protocol.has(Mutant.WITNESS_IS_AUTHORITY):
        if all(replica.witness == NO_NONCE for replica in world.replicas):
            won = _leader(me, world.row.term, me.nonce)
            yield Step(Kind.STEP, f"{r} holds the one advisory lock and leads", _put(world, r, won))
        return
    held = me._replace(phase=Phase.WITNESSED, witness=me.nonce)
    yield Step(Kind.STEP, f"{r} takes its leadership witness", _put(world, r, held))


def claim_term(protocol: Protocol, world: World, r: int) -> Steps:
    """Move the leader's row from exactly what was read before. "Leader" is a value that only this returns."""
    me = world.replicas[r]
    if me.phase is not Phase.WITNESSED or not me.session or me.seen is None or _row_locked(protocol, world):
        return
    if me.seen == world.row or protocol.has(Mutant.CLAIM_WITHOUT_COMPARE):
        term = me.term or max(me.seen.term, world.lease.term) + 1
        if term > protocol.bounds.terms:
            return
        moved = world._replace(row=LeaderRow(term, me.nonce))
        yield Step(Kind.STEP, f"{r} claims term {term} and leads", _put(moved, r, _leader(me, term, me.nonce)))
    else:
        moved = world
        yield Step(Kind.STEP, f"{r} finds the row moved", _put(_give_lease_back(protocol, world, me), r, _follower(me)))
    unanswered = _put(moved, r, me._replace(phase=Phase.UNANSWERED))
    yield Step(Kind.FAULT, f"{r} claims a term, the reply is lost", unanswered)


def read_again(protocol: Protocol, world: World, r: int) -> Steps:
    """A lost reply is not an answer: one's own nonce in the row is."""
    me = world.replicas[r]
    if me.phase is not Phase.UNANSWERED or not me.session or me.seen is None:
        return
    if world.row.nonce == me.nonce:
        yield Step(Kind.STEP, f"{r} reads its own nonce and leads", _put(world, r, _leader(me, *world.row)))
    elif protocol.has(Mutant.LOST_REPLY_LEADS):
        yield Step(Kind.STEP, f"{r} assumes that it leads", _put(world, r, _leader(me, me.seen.term + 1, me.nonce)))
    else:
        yield Step(Kind.STEP, f"{r} reads that it lost", _put(_give_lease_back(protocol, world, me), r, _follower(me)))


def _row_locked(protocol: Protocol, world: World) -> bool:
    """Whether an UPDATE of the leader's row has to wait for a claim in flight.

    It changes no key column and so takes FOR NO KEY UPDATE, with which FOR SHARE conflicts and FOR KEY SHARE does
    not.
    """
    return _fence_lock(protocol) == "FOR SHARE" and any(world.claims)


def _fence_lock(protocol: Protocol) -> str:
    if protocol.has(Mutant.FOR_KEY_SHARE):
        return "FOR KEY SHARE"
    if protocol.has(Mutant.NO_FOR_SHARE) or protocol.has(Mutant.LEASE_IS_AUTHORITY):
        return ""
    return "FOR SHARE"


def _give_lease_back(protocol: Protocol, world: World, me: Replica) -> World:
    if me.nonce == NO_NONCE or world.lease.token != me.nonce:
        return world
    return world._replace(lease=_no_lease(protocol, world))


def _no_lease(protocol: Protocol, world: World) -> Lease:
    return Lease(NO_NONCE, world.lease.term) if protocol.has(Mutant.TERM_FROM_REDIS) else NO_LEASE


# The election: LEADING.


def beat(protocol: Protocol, world: World, r: int) -> Steps:
    """Renew the lease, confirm the term. Postgres decides: under `hold` nothing that lies in Redis ends a term."""
    me = world.replicas[r]
    if me.phase is not Phase.LEADING or not me.session:
        return
    if not leads(world, me):
        yield Step(Kind.STEP, f"{r} learns that its term has ended", _put(world, r, _follower(me)))
        return
    extended = _put(world, r, me._replace(trusted=True))
    if not protocol.bounds.redis:
        yield Step(Kind.STEP, f"{r} beats", extended)
        return
    yield Step(Kind.TROUBLE, f"{r} beats, Redis silent", extended)
    if world.lease.token in (NO_NONCE, me.nonce):
        carried = world.lease.term if protocol.has(Mutant.TERM_FROM_REDIS) else me.term
        yield Step(Kind.STEP, f"{r} beats", extended._replace(lease=Lease(me.nonce, carried)))
    else:
        yield Step(Kind.STEP, f"{r} beats, the lease is another's", extended)
        if not _is_a_candidates(world):
            outlived = extended._replace(lease=Lease(me.nonce, me.term))
            yield Step(Kind.STEP, f"{r} beats and outlives another's lease", outlived)
        if not _row_locked(protocol, world):
            # Under `stop`: no lease, no term.
            left = world._replace(row=world.row._replace(nonce=NO_NONCE))
            yield Step(Kind.TROUBLE, f"{r} steps down for another's lease", _put(left, r, _follower(me)))


def _is_a_candidates(world: World) -> bool:
    """Whether the lease is of somebody who stands just now: it ends, or the row names it, before it is outlived."""
    return any(it.phase in _CANDIDATES and it.nonce == world.lease.token for it in world.replicas)


def close_window(_: Protocol, world: World, r: int) -> Steps:
    """A TTL, less a margin, has passed since the last good beat was sent."""
    me = world.replicas[r]
    if me.trusted:
        yield Step(Kind.TROUBLE, f"{r}'s trust window closes", _put(world, r, me._replace(trusted=False)))


def notice_cut(_: Protocol, world: World, r: int) -> Steps:
    """A leader whose control session is gone stops claiming and starting; it may sit down again."""
    me = world.replicas[r]
    if me.phase is Phase.LEADING and not me.session:
        lost = me._replace(phase=Phase.RECLAIMING, trusted=False)
        yield Step(Kind.STEP, f"{r} notices that its session is gone", _put(world, r, lost))


def reclaim(protocol: Protocol, world: World, r: int) -> Steps:
    """The same term again, under a new nonce and a new witness, if the row still holds exactly the old ones."""
    me = world.replicas[r]
    if me.phase is not Phase.RECLAIMING:
        return
    back = me._replace(session=True)
    yield Step(Kind.STEP, f"{r} gives its seat up", _put(world, r, _follower(back)))
    if world.row != (me.term, me.nonce) and not protocol.has(Mutant.RECLAIM_WITHOUT_COMPARE):
        return
    if _row_locked(protocol, world):
        return
    nonce = _fresh_nonce(world)
    seated = world._replace(row=LeaderRow(me.term, nonce))
    if world.lease.token in (NO_NONCE, me.nonce):
        carried = world.lease.term if protocol.has(Mutant.TERM_FROM_REDIS) else me.term
        taken = seated._replace(lease=Lease(nonce, carried)) if protocol.bounds.redis else seated
        yield Step(Kind.STEP, f"{r} is seated again", _put(taken, r, _leader(back, me.term, nonce)))
    else:
        found = _put(seated, r, _leader(back, me.term, nonce))
        yield Step(Kind.STEP, f"{r} is seated again, the lease is another's", found)
        left = world._replace(row=LeaderRow(me.term, NO_NONCE))
        yield Step(
            Kind.TROUBLE, f"{r} is seated again and gives up for want of the lease", _put(left, r, _follower(back))
        )
    # The reply lost, the row names a nonce that nobody keeps a witness of: the next candidate's, then.
    yield Step(Kind.FAULT, f"{r} is seated again, the reply is lost", seated)


def resign(protocol: Protocol, world: World, r: int) -> Steps:
    """SIGTERM: the seat is free now; what was begun drains under the life witness. Counted like a fault."""
    me = world.replicas[r]
    if leads(world, me) and me.session and not _row_locked(protocol, world):
        freed = _give_lease_back(protocol, world, me)._replace(row=LeaderRow(me.term, NO_NONCE))
        yield Step(Kind.FAULT, f"{r} resigns", _put(freed, r, _follower(me)))


def reconnect(_: Protocol, world: World, r: int) -> Steps:
    """A replica without a control session opens one, and begins as a follower; so does one that starts."""
    me = world.replicas[r]
    if not me.session and me.phase not in (Phase.LEADING, Phase.RECLAIMING):
        yield Step(Kind.STEP, f"{r} connects", _put(world, r, _follower(me._replace(session=True))))


def lease_runs_out(protocol: Protocol, world: World) -> Steps:
    """Ordinary time: a lease ends unless a leader whose trust window is open keeps renewing it."""
    token = world.lease.token
    renewed = any(replica.nonce == token and trusts(replica, replica.term) for replica in world.replicas)
    if token != NO_NONCE and not renewed and not protocol.has(Mutant.LEASE_WITHOUT_TTL):
        yield Step(Kind.STEP, "the lease runs out", world._replace(lease=_no_lease(protocol, world)))


ELECTION = (
    see_vacancy,
    take_lease,
    take_witness,
    claim_term,
    read_again,
    beat,
    close_window,
    notice_cut,
    reclaim,
    resign,
    reconnect,
)


# The claim: one statement, and yet two instants, that of the fence and that of the commit.


def evaluate_fence(protocol: Protocol, world: World, r: int) -> Steps:
    """Lock the leader's row FOR SHARE where term and nonce match. A claim may be under way for any length of time:
    the trust window is not asked, since it could close right after."""
    me = world.replicas[r]
    left = protocol.bounds.occurrences - world.cursor
    if me.phase is not Phase.LEADING or world.claims[r] is not None or left == 0:
        return
    if leads(world, me) or protocol.has(Mutant.LEASE_IS_AUTHORITY):
        fire = Claim(r, me.term, world.cursor, 1)
        yield Step(Kind.STEP, f"{r}'s claim of {world.cursor} passes the fence", _in_flight(world, r, fire))
        if left > 1:
            missed = fire._replace(passes=left)
            yield Step(Kind.STEP, f"{r}'s claim of {left} missed passes the fence", _in_flight(world, r, missed))


def commit(protocol: Protocol, world: World, r: int) -> Steps:
    """Cursor and run together or not at all; the lock on the leader's row ends here."""
    claim = world.claims[r]
    if claim is None:
        return
    if protocol.has(Mutant.TWO_TRANSACTIONS) and not claim.cursor_moved:
        half = world._replace(cursor=claim.cursor + claim.passes)
        yield Step(Kind.STEP, f"{r}'s cursor commits", _in_flight(half, r, claim._replace(cursor_moved=True)))
        return
    ended = _in_flight(world, r, None)
    if world.cursor != claim.cursor and not claim.cursor_moved:
        yield Step(Kind.STEP, f"{r}'s claim finds the cursor moved", ended)
        return
    last = claim.cursor + claim.passes - 1
    status = Status.PENDING if claim.passes == 1 else Status.MISSED
    owner = claim.owner if status is Status.PENDING else NOBODY
    inserted = Run(status, owner, claim.term, claim.passes)
    won = not world.runs[last] or protocol.has(Mutant.NO_UNIQUE_KEY)
    moved = ended._replace(cursor=last + 1)
    if won:
        moved = _write(moved, last, *world.runs[last], inserted)
    hears = won and claim.owner == r and status is Status.PENDING and protocol.bounds.executes
    told = _hold(moved, r, last, Hand(Stage.TIMER, claim.term)) if hears else moved
    yield Step(Kind.STEP, f"{r}'s claim commits", told)
    if hears:
        yield Step(Kind.FAULT, f"{r}'s claim commits, the reply is lost", moved)
    if claim.owner == THE_DEAD:
        yield Step(Kind.STEP, f"{r}'s claim dies with its process", ended)


CLAIMS = (evaluate_fence, commit)


# The run, in the hands of its owner.


def begin(protocol: Protocol, world: World, r: int, k: int) -> Steps:
    """The timer fires, on time or long after SIGCONT: what counts is the trust window at this instant."""
    me = world.replicas[r]
    hand = me.hands[k]
    if hand is None or hand.stage is not Stage.TIMER:
        return
    if trusts(me, hand.term) or protocol.has(Mutant.START_WITHOUT_TRUST):
        begun = Hand(Stage.BEGUN, hand.term, unbroken=me.session)
        yield Step(Kind.STEP, f"{r} begins run {k}", _hold(world, r, k, begun))
    else:
        given = _hold(world, r, k, None)
        if _is_owner(world.runs[k][0], r, hand):
            given = _write(given, k, world.runs[k][0]._replace(owner=NOBODY), *world.runs[k][1:])
        yield Step(Kind.STEP, f"{r} hands run {k} back", given)


def mark(_: Protocol, world: World, r: int, k: int) -> Steps:
    """Tell the database that the run was begun, if it is still one's own."""
    hand = world.replicas[r].hands[k]
    if hand is None or hand.stage is not Stage.BEGUN:
        return
    run = world.runs[k][0]
    if _is_owner(run, r, hand) and run.status is Status.PENDING:
        running = _write(world, k, run._replace(status=Status.RUNNING), *world.runs[k][1:])
        marked = _hold(running, r, k, hand._replace(stage=Stage.MARKED))
        yield Step(Kind.STEP, f"{r} marks run {k} as running", marked)


def record(protocol: Protocol, world: World, r: int, k: int) -> Steps:
    """The attempt ends and says how, guarded by owner and term and not by leadership; too late changes nothing."""
    hand = world.replicas[r].hands[k]
    if hand is None or hand.stage is Stage.TIMER:
        return
    run = world.runs[k][0]
    told = world
    if _is_owner(run, r, hand) or protocol.has(Mutant.RECORD_WITHOUT_GUARD):
        recorded = run._replace(status=Status.ENDED, owner=NOBODY, outcomes=(*run.outcomes, hand.term))
        told = _write(world, k, recorded, *world.runs[k][1:])
    yield Step(Kind.STEP, f"{r} records run {k}", _hold(told, r, k, None))
    yield Step(Kind.FAULT, f"{r} records run {k}, the reply is lost", told)


def _is_owner(run: Run, r: int, hand: Hand) -> bool:
    return run.owner == r and run.term == hand.term and run.status in (Status.PENDING, Status.RUNNING)


RUNS = (begin, mark, record)


# Recovery, beside leading. One fenced statement each, and harmless to the order of terms: so one step each.


def adopt(protocol: Protocol, world: World, r: int, k: int) -> Steps:
    """Take over a run that nobody alive has begun."""
    me = world.replicas[r]
    run = world.runs[k][0] if world.runs[k] else None
    if run is None or run.status is not Status.PENDING or not leads(world, me) or me.hands[k] is not None:
        return
    if not _may_adopt(protocol, world, run, r):
        return
    if run.owner == r and run.term == me.term and protocol.has(Mutant.LOST_CLAIM_FORGOTTEN):
        return
    adopted = _write(world, k, run._replace(owner=r, term=me.term), *world.runs[k][1:])
    told = _hold(adopted, r, k, Hand(Stage.TIMER, me.term)) if protocol.bounds.executes else adopted
    if told != world:
        yield Step(Kind.STEP, f"{r} adopts run {k}", told)


def _may_adopt(protocol: Protocol, world: World, run: Run, r: int) -> bool:
    if run.owner in (NOBODY, THE_DEAD, r) or protocol.has(Mutant.ADOPT_IN_THE_WINDOW):
        return True
    owner = world.replicas[run.owner]
    # A TTL since the term began outlasts every window that an earlier term opened: the guard on time.
    return not owner.session or not trusts(owner, run.term)


def reap(protocol: Protocol, world: World, r: int, k: int) -> Steps:
    """End the attempt of an owner whose life witness has been gone for a TTL; the run goes on, or has failed."""
    run = world.runs[k][0] if world.runs[k] else None
    if run is None or run.status is not Status.RUNNING or not leads(world, world.replicas[r]) or run.owner == r:
        return
    if _is_dead(world, run.owner) or protocol.has(Mutant.REAP_THE_LIVING):
        lost = run._replace(owner=NOBODY, outcomes=(*run.outcomes, run.term), deliveries=run.deliveries + 1)
        over = lost.deliveries >= MAX_DELIVERIES
        reaped = lost._replace(status=Status.ENDED if over else Status.PENDING)
        yield Step(Kind.STEP, f"{r} reaps run {k}", _write(world, k, reaped, *world.runs[k][1:]))


def _is_dead(world: World, owner: int) -> bool:
    """Gone for a TTL: by then its window has closed as well."""
    return owner == THE_DEAD or not (world.replicas[owner].session or world.replicas[owner].trusted)


RECOVERY = (adopt, reap)


# Faults, each counted against `Bounds.faults`.


def crash(_: Protocol, world: World, r: int) -> Steps:
    """kill -9: the witnesses fall, memory is gone; a statement that was sent may commit yet."""
    me = world.replicas[r]
    if me.phase is Phase.DOWN:
        return
    blank = Replica(Phase.DOWN, False, NO_NONCE, False, 0, NO_NONCE, None, (None,) * len(me.hands))
    runs = tuple(tuple(run._replace(owner=THE_DEAD) if run.owner == r else run for run in rows) for rows in world.runs)
    claim = world.claims[r]
    orphaned = _in_flight(world, r, claim and claim._replace(owner=THE_DEAD))
    yield Step(Kind.FAULT, f"{r} crashes", _put(orphaned._replace(runs=runs), r, blank))


def cut_session(_: Protocol, world: World, r: int) -> Steps:
    """The control session is cut under a living process."""
    me = world.replicas[r]
    if me.session:
        yield Step(Kind.FAULT, f"{r}'s control session is cut", _put(world, r, _without_session(me)))


def redis_fails_over(protocol: Protocol, world: World, r: int) -> Steps:
    """An old replica of Redis takes over and gives the lease to whoever once had it."""
    token = world.replicas[r].nonce
    if protocol.bounds.redis and token not in (NO_NONCE, world.lease.token):
        moved = world._replace(lease=Lease(token, world.lease.term))
        yield Step(Kind.FAULT, f"Redis fails over and gives the lease to {r}", moved)


FAULTS = (crash, cut_session, redis_fails_over)


def flush_redis(_: Protocol, world: World) -> Steps:
    """Redis loses everything, at any time."""
    if world.lease != NO_LEASE:
        yield Step(Kind.FAULT, "FLUSHALL", world._replace(lease=NO_LEASE))


def restart_postgres(_: Protocol, world: World) -> Steps:
    """Every witness falls at once, and what had not committed is gone."""
    if any(replica.session for replica in world.replicas):
        replicas = tuple(_without_session(replica) for replica in world.replicas)
        claims = (None,) * len(replicas)
        yield Step(Kind.FAULT, "Postgres restarts", world._replace(replicas=replicas, claims=claims))


SERVERS = (lease_runs_out, flush_redis, restart_postgres)


def insert_run(_: Protocol, world: World) -> Steps:
    """An operator's row for the very occurrence that the cursor comes to next."""
    k = world.cursor
    if k < len(world.runs) and not world.runs[k]:
        row = Run(Status.PENDING, NOBODY, 0)
        yield Step(Kind.FAULT, f"an operator inserts run {k}", _write(world, k, row))


OPERATORS = (insert_run,)

_ELECTION = "scheduler_core.engine.election"
_SESSION = "scheduler_core.storage.fire.control_session:PostgresControlSession"
_LEASES = "scheduler_core.storage.redis.leases"
_FIRE = "scheduler_core.engine.fire"
_RUNS = "scheduler_core.storage.fire.runs:RunStore"
_STATEMENTS = "scheduler_core.storage.fire"
_DRILL = "scheduler_core.drill"

CODE: Mapping[Callable[..., Steps], tuple[str, ...]] = {
    see_vacancy: (
        f"{_ELECTION}.vacancy_watch:VacancyWatch.next_vacancy",
        "scheduler_core.domain.election.suspicion:Suspicion",
    ),
    take_lease: (f"{_ELECTION}.lease_holder:LeaseHolder.stand", f"{_LEASES}:LeaseStore.take"),
    take_witness: (f"{_SESSION}.claim",),
    claim_term: (
        f"{_ELECTION}.elector:Elector._stand",
        f"{_SESSION}.claim",
        f"{_STATEMENTS}.term_statements:CLAIM_TERM",
    ),
    read_again: (f"{_SESSION}._move_row",),
    beat: (
        f"{_ELECTION}.term:Term._beat",
        f"{_SESSION}.confirm",
        f"{_ELECTION}.lease_holder:LeaseHolder.renew",
        "scheduler_core.domain.election.trust:judge",
    ),
    close_window: (
        f"{_ELECTION}.trust_window:LeaderTrust.leadership",
        "scheduler_core.domain.election.trust:Timing.trusted_until",
    ),
    notice_cut: (f"{_ELECTION}.control_link:ControlLink.session_lost", f"{_ELECTION}.office:Office.drop"),
    reclaim: (
        f"{_ELECTION}.term:Term._reclaim",
        f"{_SESSION}.reclaim",
        f"{_STATEMENTS}.term_statements:RECLAIM",
    ),
    resign: (f"{_ELECTION}.term:Term._resign", f"{_SESSION}.resign", f"{_STATEMENTS}.term_statements:RESIGN"),
    reconnect: (f"{_ELECTION}.control_link:ControlLink.open", f"{_SESSION}.open"),
    lease_runs_out: (f"{_LEASES}:LeaseStore.renew",),
    evaluate_fence: (f"{_FIRE}.claiming:Claiming.claim_due", f"{_RUNS}.claim", f"{_STATEMENTS}.claims:CLAIM"),
    commit: (
        f"{_STATEMENTS}.claims:CLAIM",
        f"{_STATEMENTS}.claims:CLAIMED",
        f"{_FIRE}.start_timers:StartTimers.arrange",
    ),
    begin: (
        f"{_FIRE}.run_executor:RunExecutor.start",
        f"{_FIRE}.run_executor:RunExecutor._begin",
        f"{_ELECTION}.trust_window:LeaderTrust.allows",
    ),
    mark: (
        f"{_FIRE}.recorder:Recorder.start_run",
        f"{_STATEMENTS}.outcomes:START",
        f"{_SESSION}.mark_running",
    ),
    record: (f"{_FIRE}.recorder:Recorder.record", f"{_RUNS}.record", f"{_STATEMENTS}.outcomes:RECORD"),
    adopt: (f"{_FIRE}.recovery:Recovery._adopt", f"{_RUNS}.adopt", f"{_STATEMENTS}.takeovers:ADOPT"),
    reap: (f"{_FIRE}.recovery:Recovery._reap", f"{_RUNS}.reap", f"{_STATEMENTS}.takeovers:REAP"),
    crash: (f"{_DRILL}.injection:kill",),
    cut_session: (f"{_DRILL}.server_faults:pg_terminate_control",),
    redis_fails_over: (f"{_LEASES}:LeaseStore.take", f"{_LEASES}:LeaseStore.renew"),
    flush_redis: (f"{_DRILL}.server_faults:redis_flush",),
    restart_postgres: (f"{_DRILL}.server_faults:pg_restart",),
    insert_run: (f"{_RUNS}.trigger", "scheduler_core.storage.jobs.definitions:JobStore.settle"),
}
"""The code that each step stands for, as `module:qualname`: whoever changes one changes the other. A fault stands for
what injects it on real servers, or, where nothing does, for the code that has to bear it.
"""
