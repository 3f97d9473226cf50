"""Guards of the product, each taken out from outside: what the simulation has to notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from scheduler_core.domain.election import trust
from scheduler_core.domain.election.suspicion import Suspicion
from scheduler_core.domain.election.trust import Confirmation, RedisOutage, Renewal, Timing, Verdict
from scheduler_core.engine.election import term as term_module
from scheduler_core.engine.election.lease_holder import LeaseHolder
from scheduler_core.engine.election.term import Term
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.ports.election import Leadership
from scheduler_core.storage.fire.control_session import PostgresControlSession

from .faults import FAULTS
from .postgres_server import PostgresServer, Row
from .world import World

Patch = pytest.MonkeyPatch


def claim_without_compare(patch: Patch) -> None:
    """The row is moved, whatever it says."""
    claim = PostgresServer._claim

    def mutant(server: PostgresServer, backend: Any, proposed: int, nonce: str, me: str, held: bool, *rest: Any) -> Any:
        row = server.row
        return claim(server, backend, proposed, nonce, me, held, row.term, row.nonce, *rest[2:])

    patch.setattr(PostgresServer, "_claim", mutant)


def reclaim_without_compare(patch: Patch) -> None:
    """The former leader sits down again, whoever has the seat."""

    def mutant(server: PostgresServer, backend: Any, term: int, nonce: str, fresh: str, witnessed: bool) -> Any:
        server.row = Row(term, fresh, backend.owner, witnessed, None, backend.pid)
        server.watcher.stands(term, fresh)
        return {"term": term}

    patch.setattr(PostgresServer, "_reclaim", mutant)


def term_by_the_row_alone(patch: Patch) -> None:
    """What Redis remembers of the last term is left aside."""
    stand = LeaseHolder.stand

    async def mutant(holder: LeaseHolder, candidacy: Leadership, dead_nonce: str | None) -> int:
        return candidacy.term if await stand(holder, candidacy, dead_nonce) else 0

    patch.setattr(LeaseHolder, "stand", mutant)


def lost_reply_leads(patch: Patch) -> None:
    """A claim that nobody answered was won."""
    claim = PostgresControlSession.claim

    async def mutant(session: PostgresControlSession, row: Any, nonce: str, **given: Any) -> Any:
        try:
            return await claim(session, row, nonce, **given)
        except ConnectionError:
            return Leadership(row.term + 1, nonce, session._me().instance_id)

    patch.setattr(PostgresControlSession, "claim", mutant)


def window_from_the_answer(patch: Patch) -> None:
    """Trust is counted from when the answer came, and not from when it was asked for."""
    beat = Term._beat

    async def mutant(term: Term) -> bool:
        goes_on = await beat(term)
        if goes_on and term._office.trust._trust.leadership is not None:
            term._office.trust.extend(term._timing.trusted_until(term._boottime()))
        return goes_on

    patch.setattr(Term, "_beat", mutant)


def window_as_long_as_the_lease(patch: Patch) -> None:
    """No margin before the TTL."""
    patch.setattr(Timing, "trusted_until", lambda timing, sent_at: sent_at + timing.ttl_seconds)


def silence_confirms(patch: Patch) -> None:
    """A Postgres that does not answer ends no term."""
    judge = trust.judge

    def mutant(renewal: Renewal, confirmation: Confirmation, outage: Any) -> Verdict:
        silent = confirmation is Confirmation.UNREADABLE
        return judge(renewal, Confirmation.STANDS if silent else confirmation, outage)

    patch.setattr(term_module, "judge", mutant)


def window_of_the_taken_lease(patch: Patch) -> None:
    """A seat that was had again is believed in from when the lease was taken: as it was, before it was found here."""
    retake = Term._retake_lease

    async def mutant(term: Term, seated: Leadership, sent_at: float, deadline: float) -> bool:
        return await retake(term, seated, term._boottime(), deadline)

    patch.setattr(Term, "_retake_lease", mutant)


def ended_term_waits_for_redis(patch: Patch) -> None:
    """A leader hears that its term has ended once Redis has answered, too: as it was, before it was found here."""

    async def mutant(term: Term) -> Any:
        return tuple(await asyncio.gather(term._office.lease.renew(term._leadership), term._confirm()))

    patch.setattr(Term, "_ask", mutant)


def starts_without_a_word(patch: Patch) -> None:
    """A process that was stopped starts what is due as it is woken, and asks its elector later."""
    patch.setattr(LeaderTrust, "_next", lambda window, trust: trust)


def wedged_loop_leads(patch: Patch) -> None:
    """Nobody looks whether the scheduler's loop moves."""
    patch.setattr(Term, "_lead", _without_stalls(Term._lead))


def _without_stalls(lead: Callable[[Term], Any]) -> Callable[[Term], Any]:
    async def mutant(term: Term) -> None:
        class Moves:
            stalled_seconds = 0.0
            active_runs = term._office.pulse.active_runs
            abilities = term._office.pulse.abilities

        before, term._office.pulse = term._office.pulse, Moves()  # type: ignore[assignment]
        try:
            await lead(term)
        finally:
            term._office.pulse = before

    return mutant


def lease_is_kept(patch: Patch) -> None:
    """Whoever resigns keeps the lease until it runs out."""

    async def mutant(holder: LeaseHolder, nonce: str) -> None: ...

    patch.setattr(LeaseHolder, "release", mutant)


def dead_lease_keeps_out(patch: Patch) -> None:
    """A candidate takes a lease that is free, and no dead leader's."""
    take = LeaseHolder._take

    async def mutant(holder: LeaseHolder, leadership: Leadership, dead_token: str | None, *, is_new: bool) -> int:
        return await take(holder, leadership, None, is_new=is_new)

    patch.setattr(LeaseHolder, "_take", mutant)


def pauses_are_not_measured(patch: Patch) -> None:
    """Only a whole silence tells of a death."""
    patch.setattr(Suspicion, "is_suspicious", lambda suspicion, now: False)


def seat_is_kept(patch: Patch) -> None:
    """Who could not sit down again goes on to hold the witness: as it was, before it was found here."""

    async def mutant(term: Term, request: Any, *nonces: str) -> None:
        if len(nonces) == 1:
            await end(term, request, *nonces)

    end = Term._end_term
    patch.setattr(Term, "_end_term", mutant)


ANYWHERE = World
"""Any of the faults, as in every other simulation."""


def among(*names: str, outage: RedisOutage | None = None) -> Callable[[int], World]:
    """Of all faults these alone: where what is looked for takes one of them alone, or two that meet."""
    return lambda seed: World(seed, {name: FAULTS[name] for name in names}, outage=outage)


MUTANTS: Mapping[Callable[[Patch], None], Callable[[int], World]] = {
    claim_without_compare: ANYWHERE,
    reclaim_without_compare: ANYWHERE,
    term_by_the_row_alone: ANYWHERE,
    lost_reply_leads: ANYWHERE,
    window_from_the_answer: ANYWHERE,
    window_as_long_as_the_lease: ANYWHERE,
    silence_confirms: ANYWHERE,
    window_of_the_taken_lease: ANYWHERE,
    ended_term_waits_for_redis: among(
        "redis_hears_nothing", "redis_is_not_heard", "cut_from_redis", outage=RedisOutage.STOP
    ),
    starts_without_a_word: ANYWHERE,
    wedged_loop_leads: ANYWHERE,
    lease_is_kept: ANYWHERE,
    dead_lease_keeps_out: among("kill"),
    pauses_are_not_measured: among("stop"),
}
"""Each with where it is looked for. `seat_is_kept` takes four faults, each in its moment: it has a scene of its own."""
