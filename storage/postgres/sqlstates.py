"""What an SQLSTATE means to whoever sent the statement: one table, and everybody follows it.

Postgres answers an error only after it has undone the statement. So nothing was written, whatever the code, but where
the session itself ended: then nothing is known. What differs is who can mend it: another session, time, an operator, or
nobody, because the data can't be stored.

The codes and their classes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import enum

from sqlalchemy.exc import DBAPIError


class Condition(enum.Enum):
    """What went wrong. The value says it in a few words."""

    UNREACHABLE = "there is no server, or the session ended: whether anything was written is unknown"
    UNFIT_SESSION = "this session is no good, and another one may be"
    NOT_NOW = "not now; the same statement may succeed a moment later"
    UNSTORABLE = "this data can't be stored"
    UNFIT_SCHEMA = "the schema is not the one that this code needs"
    FORBIDDEN = "the role lacks a right"
    LOGIN_REFUSED = "the login was refused"
    NO_DATABASE = "there is no such database"
    REFUSED = "the server refuses it, for a reason that is not foreseen"

    @property
    def ends_session(self) -> bool:
        """Whether the session must not be used again."""
        return self in (Condition.UNREACHABLE, Condition.UNFIT_SESSION)


_BY_CODE = {
    "25006": Condition.UNFIT_SESSION,  # read-only: a standby, or a primary that became one behind an open socket
    "25P03": Condition.UNREACHABLE,  # idle in transaction for too long: the server ended the session
    "25P04": Condition.UNREACHABLE,  # likewise, by transaction_timeout
    "3D000": Condition.NO_DATABASE,
    "40003": Condition.UNREACHABLE,  # "statement completion unknown"
    "42501": Condition.FORBIDDEN,
    "42P05": Condition.UNFIT_SESSION,  # a pooler gave us a server process on which somebody prepared the same name
    "53300": Condition.UNREACHABLE,  # too many connections: there is no session at all
    "57014": Condition.NOT_NOW,  # cancelled, by an operator or statement_timeout
    "57P04": Condition.NO_DATABASE,  # dropped under our feet
}

_BY_CLASS = {
    "08": Condition.UNREACHABLE,
    "0A": Condition.UNFIT_SESSION,  # a cached plan whose result would be another now
    "0B": Condition.UNFIT_SESSION,
    "21": Condition.UNSTORABLE,
    "22": Condition.UNSTORABLE,
    "23": Condition.UNSTORABLE,
    "24": Condition.UNFIT_SESSION,
    "25": Condition.UNFIT_SESSION,  # a transaction where none should be: somebody else's, by way of a pooler
    "26": Condition.UNFIT_SESSION,  # a prepared statement that is not there: a pooler gave us another server process
    "28": Condition.LOGIN_REFUSED,
    "2D": Condition.UNFIT_SESSION,
    "34": Condition.UNFIT_SESSION,
    "3B": Condition.UNFIT_SESSION,
    "3F": Condition.UNFIT_SCHEMA,
    "40": Condition.NOT_NOW,  # deadlocks, serialization
    "42": Condition.UNFIT_SCHEMA,
    "44": Condition.UNSTORABLE,
    "53": Condition.NOT_NOW,  # disk or memory full
    "54": Condition.UNSTORABLE,  # larger than Postgres can hold, and it will be as large the next time
    "55": Condition.NOT_NOW,  # a lock that somebody holds; a table in a state that does not allow it
    "57": Condition.UNREACHABLE,  # going down, coming up, idle_session_timeout
    "58": Condition.NOT_NOW,  # the server's own files
    "72": Condition.NOT_NOW,
    "XX": Condition.NOT_NOW,
}


def condition_of(code: str) -> Condition:
    """What this SQLSTATE (five characters) means. A code that is not in the table was REFUSED."""
    return _BY_CODE.get(code) or _BY_CLASS.get(code[:2], Condition.REFUSED)


def condition_of_error(error: BaseException) -> Condition:
    """What a driver's error means: by its SQLSTATE, and without one by its kind."""
    code = sqlstate(error)
    if code is not None:
        return condition_of(code)
    if isinstance(error, DBAPIError) and not error.connection_invalidated:
        return Condition.REFUSED
    return Condition.UNREACHABLE


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE that the server gave, wherever in the chain it stands; None without one."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        code = getattr(current, "sqlstate", None) or getattr(current, "pgcode", None)
        if code:
            return str(code)
        current = getattr(current, "orig", None) or current.__cause__
    return None
