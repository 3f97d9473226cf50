"""A driver's error as one of ours: the words that an operator reads."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import make_url

from scheduler_core.storage.postgres.errors import explain


async def test_a_time_limit_is_told_as_one() -> None:
    """asyncio keeps it by a cancel, and says so in the error's cause: nobody has cancelled anything."""
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(30)
    told = str(explain(caught.value, make_url("postgresql://u:p@127.0.0.1:1/d"), "scheduler"))
    assert "(TimeoutError)" in told
    assert "CancelledError" not in told
