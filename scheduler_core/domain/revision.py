"""Which revisions of the schema a version of the code works with: its own, and one to either side.

Revisions are numbered without gaps, `0001` on. One back: new code starts before the schema is migrated, where it can do
without what is new (`OLDEST`). One ahead: old code goes on, and may be started again, after it. That is what a rolling
upgrade and its way back need, and all of it.
"""

from __future__ import annotations

from enum import StrEnum

OLDEST = "0001"
"""The first revision that this code can work with: every claim and every start reads what came with it.

What came later is asked for where it is used, and missed where it is not there."""

REVISIONS_BACK = 1
REVISIONS_AHEAD = 1


class Fit(StrEnum):
    """How a schema's revision stands to the one that code was written for."""

    MISSING = "missing"
    TOO_OLD = "too old"
    OLDER = "older"
    EXACT = "exact"
    NEWER = "newer"
    TOO_NEW = "too new"


WORKABLE = frozenset({Fit.OLDER, Fit.EXACT, Fit.NEWER})
"""The code takes part in a schema like this."""

UPGRADABLE = frozenset({Fit.MISSING, Fit.TOO_OLD, Fit.OLDER})
"""There are revisions between this schema and the code's."""


def fit(current: str | None, head: str, oldest: str = OLDEST) -> Fit:
    """How the schema's revision `current` (None: there is no schema) stands to the code's own, `head`.

    A revision that is no number was made by somebody else: whatever it is, this code does not know it.
    """
    if current is None:
        return Fit.MISSING
    if not (current.isascii() and current.isdecimal()):
        return Fit.TOO_NEW
    ahead = int(current) - int(head)
    if ahead == 0:
        return Fit.EXACT
    if ahead < 0:
        return Fit.OLDER if -ahead <= REVISIONS_BACK and int(current) >= int(oldest) else Fit.TOO_OLD
    return Fit.NEWER if ahead <= REVISIONS_AHEAD else Fit.TOO_NEW


def explain(schema: str, current: str | None, head: str, oldest: str = OLDEST) -> str:
    """What a person is told about a schema that is not exactly the code's own, and what there is to do."""
    at = f"the schema {schema!r} is at revision {current}"
    return {
        Fit.MISSING: f"there is no schema {schema!r} in this database yet: run `scheduler migrate`",
        Fit.TOO_OLD: f"{at}, too old for this version, which needs {head}: run `scheduler migrate`",
        Fit.OLDER: f"{at}, one before this version's {head}; what is new in {head} waits for `scheduler migrate`",
        Fit.EXACT: f"{at}, as this version needs",
        Fit.NEWER: f"{at}, one newer than this version's {head}, and works with it: upgrade scheduler-core here next",
        Fit.TOO_NEW: f"{at}, newer than this version knows ({head}): upgrade scheduler-core on this machine",
    }[fit(current, head, oldest)]
