"""Postgres's errors as ours: what happened to which server, and what to do next. No password reaches a message."""

from __future__ import annotations

import asyncio
import ssl

import asyncpg
from sqlalchemy.engine import URL

from scheduler_core.domain.errors import (
    InvalidSettingsError,
    RefusedForNowError,
    SchedulerError,
    SchemaError,
    ServerUnreachableError,
    UnstorableError,
)
from scheduler_core.storage.postgres.sqlstates import Condition, condition_of_error, sqlstate
from scheduler_core.storage.postgres.url import server_name

NO_PARTITION = "23514"
"""SQLSTATE of "no partition of relation found for row" (a check violation)."""

READ_ONLY = "25006"


class UnreadableRowError(SchedulerError):
    """A row of the answer holds a value that Python can't; which one, only asking for each alone tells."""


class DatabaseClosedError(ServerUnreachableError):
    """Whoever owns the connections has closed them."""


class MissingPartitionError(SchedulerError):
    """A row found no partition. Create the day's partition and repeat."""


def explain(error: BaseException, url: URL, schema: str) -> SchedulerError:
    """A driver's error as one of ours."""
    if isinstance(error, SchedulerError):
        return error
    where = server_name(url)
    code = sqlstate(error)
    said = _first_line(error)
    tls = _explain_tls(_root(error), where)
    if tls is not None:
        return tls
    if code == NO_PARTITION and "no partition" in said:
        return MissingPartitionError(said)
    if code == "28000" and "no encryption" in said:
        return ServerUnreachableError(
            f"Postgres at {where} takes no connection without TLS ({said}): add sslmode=require, or better "
            "verify-full with sslrootcert, to database_url"
        )
    match condition_of_error(error):
        case Condition.LOGIN_REFUSED:
            return ServerUnreachableError(
                f"Postgres at {where} refused the login of {url.username!r}: check user and password in database_url"
            )
        case Condition.NO_DATABASE:
            return ServerUnreachableError(
                f"Postgres at {where} has no database {url.database!r}: create it, or correct database_url"
            )
        case Condition.UNFIT_SESSION if code == READ_ONLY:
            return RefusedForNowError(
                f"the database {where} is read-only (a standby, or default_transaction_read_only): "
                "point database_url at the primary"
            )
        case Condition.UNFIT_SESSION:
            return RefusedForNowError(
                f"a session with Postgres at {where} was of no use ({code}: {said}): another one is opened"
            )
        case Condition.NOT_NOW:
            return RefusedForNowError(f"Postgres at {where} could not do it just now ({code}: {said}): try again")
        case Condition.FORBIDDEN:
            return SchemaError(
                f"the database role {url.username!r} lacks a right on {where}: {said} (docs/roles.md has the GRANTs)"
            )
        case Condition.UNFIT_SCHEMA:
            return SchemaError(
                f"the schema {schema!r} in {where} does not fit this version ({said}): run `scheduler migrate`"
            )
        case Condition.UNSTORABLE:
            return UnstorableError(f"Postgres at {where} can't store this data ({code}: {said})")
        case Condition.UNREACHABLE:
            return ServerUnreachableError(
                f"Postgres at {where} can't be reached ({said}): is it running, is database_url right?"
            )
        case Condition.REFUSED:
            return SchedulerError(f"Postgres at {where} refused a statement ({code}: {said})")


def _explain_tls(error: BaseException, where: str) -> SchedulerError | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerUnreachableError(
            f"the certificate of Postgres at {where} is not trusted ({error.verify_message}): check sslrootcert, and "
            "the host's name, in database_url"
        )
    if isinstance(error, ssl.SSLError):
        return ServerUnreachableError(
            f"TLS with Postgres at {where} failed ({error.reason or 'no reason given'}): check the certificates and "
            "keys that database_url names"
        )
    if isinstance(error, asyncpg.ClientConfigurationError):
        return InvalidSettingsError(f"database_url for Postgres at {where}: {_first_line(error)}")
    return None


def _root(error: BaseException) -> BaseException:
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None or isinstance(inner, asyncio.CancelledError):
            break  # a time limit is kept by a cancel, which says nothing of what happened
        error = inner
    return error


def _first_line(error: BaseException) -> str:
    root = _root(error)
    lines = str(root).strip().splitlines()
    return lines[0] if lines else type(root).__name__
