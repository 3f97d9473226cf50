"""Batches as parallel arrays: how rows reach a statement, which unnests them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def sparse(column: Iterable[Any]) -> list[Any]:
    """A column of a batch; empty if it is all NULL, because unnest fills up the shorter arrays with NULL.

    Most outcomes are successes: what nobody has to say need be neither sent nor read.
    """
    listed = list(column)
    return [] if listed.count(None) == len(listed) else listed
