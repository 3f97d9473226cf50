"""A machine on servers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from .machine import Machine, Servers, serving


@pytest.fixture
def servers(bare: psycopg.Connection[Any], empty_database_url: str) -> Iterator[Servers]:
    with serving(empty_database_url, bare) as made:
        yield made


@pytest.fixture
def machine(servers: Servers) -> Iterator[Machine]:
    made = Machine(servers)
    yield made
    made.teardown()
