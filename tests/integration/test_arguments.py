"""A job's arguments on their way through Postgres: what one process declares is what every process calls with."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_values import exactly, json_values

from scheduler_core.domain.json_value import as_jsonb, size_in_bytes

Sql = psycopg.Connection[Any]

AS_POSTGRES_HAS_IT = "SELECT CAST(CAST(%s AS jsonb) AS text)"


@given(st.lists(json_values(), min_size=1, max_size=20))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_is_what_jsonb_gives_back(sql: Sql, values: list[Any]) -> None:
    """Keys in the same order, numbers of the same kind, and a size that is true to the byte."""
    row = sql.execute(AS_POSTGRES_HAS_IT, [json.dumps(values)]).fetchone()
    assert row is not None
    kept = as_jsonb(values)
    assert exactly(kept) == exactly(json.loads(row[0]))
    assert size_in_bytes(kept) == len(row[0].encode())
