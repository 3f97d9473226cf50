"""The control session: what a replica that lost its connection without noticing finds when it comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from scheduler_core.ports.election import Instance
from scheduler_core.storage.fire import control_session as terms_module
from scheduler_core.storage.fire.control_session import PostgresControlSession

ME = Instance("me-1", "me", "here", 1, "0", eligible=True)


class Nobody:
    """Listens to no session."""

    def nudged(self, message: str) -> None: ...

    def session_lost(self) -> None: ...


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[list[PostgresControlSession]]:
    made = [PostgresControlSession(database_url, "scheduler", ttl_seconds=3.0) for _ in range(2)]
    yield made
    for session in made:
        await session.close()


async def test_a_replica_takes_its_life_witness_from_its_own_former_session(
    sessions: list[PostgresControlSession], sql: psycopg.Connection[Any]
) -> None:
    """After a network that swallowed everything, the server may believe in the old connection for long."""
    before, after = sessions
    await before.open(ME, Nobody())
    await after.open(ME, Nobody())
    held = "SELECT scheduler.witness_held(life_key) FROM scheduler.instances WHERE instance_id = 'me-1'"
    assert sql.execute(held).fetchone() == (True,)
    assert after.witnesses_work
    await before.close()
    assert sql.execute(held).fetchone() == (True,), "it is the new session that holds it"


async def test_a_claim_whose_reply_got_lost_is_read_again(
    sessions: list[PostgresControlSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """redbeat #208, an error swallowed during acquire made a leader by accident."""
    ours = sessions[0]
    await ours.open(ME, Nobody())
    row = await ours.leader()
    move = ours._move_row

    async def move_and_lose_the_reply(*arguments: Any) -> Any:
        await move(*arguments)
        raise ConnectionError("the reply got lost")

    async def lose_the_question(*_: Any) -> Any:
        raise ConnectionError("the question got lost")

    monkeypatch.setattr(ours, "_move_row", lose_the_question)
    nobody = await ours.claim(row, "n0", reason="test", silent_seconds=0, proposed_term=0)
    assert nobody is None, "an error makes no leader"
    monkeypatch.setattr(ours, "_move_row", move_and_lose_the_reply)
    leadership = await ours.claim(row, "n1", reason="test", silent_seconds=0, proposed_term=0)
    assert leadership is not None
    assert leadership.term == row.term + 1


MUTANTS = {
    "as it is": (lambda sql: sql, 1),
    "no compare": (
        lambda sql: sql.replace(
            "WHERE term = $5 AND nonce IS NOT DISTINCT FROM $6", "WHERE CAST($6 AS text) IS NULL OR true"
        ),
        2,
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_of_two_candidates_one_moves_the_row(
    sessions: list[PostgresControlSession], monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    """I1: both read the same row; the second finds it moved. river #199, a past leader believes it won."""
    change, winners = MUTANTS[mutant]
    monkeypatch.setattr(terms_module, "CLAIM_TERM", change(terms_module.CLAIM_TERM))
    for number, session in enumerate(sessions):
        await session.open(Instance(f"i-{number}", "i", "here", number, "0", eligible=True), Nobody())
    row = await sessions[0].leader()
    claims = [
        await session.claim(row, f"n{number}", reason="test", silent_seconds=0, proposed_term=0)
        for number, session in enumerate(sessions)
    ]
    assert sum(claim is not None for claim in claims) == winners


async def test_terms_grow_also_past_what_the_lease_carries(sessions: list[PostgresControlSession]) -> None:
    """I1: an asynchronous standby that has not seen the last terms takes over; the lease proposes a number above."""
    session = sessions[0]
    await session.open(ME, Nobody())
    row = await session.leader()
    leadership = await session.claim(row, "n", reason="test", silent_seconds=0, proposed_term=row.term + 42)
    assert leadership is not None
    assert leadership.term == row.term + 42
