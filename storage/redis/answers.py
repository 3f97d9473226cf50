"""What an error of Redis means: said once, for the lease, the locks and the start of a replica.

An error that Redis *answers* with is an outage like a silence: the server is there and does not do what it is asked
for, and `redis_outage` says what follows. Each kind has a line in `MEANINGS`; one that has none is an outage too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from scheduler_core.domain.errors import RefusedForNowError, SchedulerError, ServerUnreachableError
from scheduler_core.storage.redis.url import redis_server_name

CLIENT_ERRORS = (RedisError, OSError, RuntimeError, TimeoutError)
"""Whatever a call to Redis raises; uvloop says RuntimeError where a connection was closed under the client."""


class Cause(Enum):
    """Why Redis does not do what it is asked for."""

    STATE = "it can't just now, or not with what lies there: the right server, and so an outage"
    SETTING = "it won't for us: at a first start a wrong setting, later an outage"
    PLACE = "it is not the server that takes writes: an outage, until the next call has asked for the master anew"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error code of Redis comes to: its cause, and the sentence that follows "Redis at HOST"."""

    cause: Cause
    sentence: str


_A_CLUSTER = Meaning(
    Cause.SETTING, "is a node of a cluster and keeps our key elsewhere: point redis_url at one server, or at Sentinels"
)
_A_LOGIN = Meaning(Cause.SETTING, "refused the login: check the password in redis_url")
_A_REPLICA = Meaning(Cause.PLACE, "is a replica: point redis_url at the master, or at Sentinels")

MEANINGS: dict[str, Meaning] = {
    "NOREPLICAS": Meaning(
        Cause.STATE,
        "refuses writes for want of replicas: bring them back, or lower its min-replicas-to-write",
    ),
    "MISCONF": Meaning(
        Cause.STATE, "refuses writes because it can't save to its disk: see its log, and whether the disk is full"
    ),
    "OOM": Meaning(Cause.STATE, "refuses writes because its memory is full: raise its maxmemory, or have it evict"),
    "WRONGTYPE": Meaning(Cause.STATE, "holds something of another type under our key: delete that key"),
    "BUSY": Meaning(Cause.STATE, "is busy with somebody's script: SCRIPT KILL ends it, unless it has written"),
    "LOADING": Meaning(Cause.STATE, "is still loading its data: it answers when that is done"),
    "CLUSTERDOWN": Meaning(Cause.STATE, "belongs to a cluster that is down: CLUSTER INFO says what it lacks"),
    "TRYAGAIN": Meaning(Cause.STATE, "belongs to a cluster that is moving our key: it answers when that is done"),
    "READONLY": _A_REPLICA,
    "MASTERDOWN": _A_REPLICA,
    "NOAUTH": _A_LOGIN,
    "WRONGPASS": _A_LOGIN,
    "NOPERM": Meaning(
        Cause.SETTING,
        "refused what its user may not: in its ACL allow redis_url's user +@scripting +@hash +@keyspace ~scheduler:*",
    ),
    "MOVED": _A_CLUSTER,
    "ASK": _A_CLUSTER,
    "CROSSSLOT": _A_CLUSTER,
}

_CODE = re.compile(rf"(?:\A|[\s:-])({'|'.join(MEANINGS)})\b")


def meaning(error: BaseException) -> Meaning | None:
    """What Redis said with an error; None for one that it did not answer, such as a time-out."""
    if not isinstance(error, RedisError):
        return None
    code = str(error.status_code or "")
    if code in MEANINGS:
        return MEANINGS[code]
    # Before Redis 7 a script says in the midst of its own error which command was refused, and why.
    if (found := _CODE.search(str(error))) is not None:
        return MEANINGS[found[1]]
    if isinstance(error, NoPermissionError):
        return MEANINGS["NOPERM"]
    if isinstance(error, AuthenticationError):
        return _A_LOGIN
    return Meaning(Cause.STATE, f"answered with an error: {error}") if isinstance(error, ResponseError) else None


def explain(error: BaseException, url: str) -> SchedulerError:
    """A client's error as one of ours: what happened to which server, and what to do."""
    if isinstance(error, SchedulerError):
        return error
    # Of a master that was not found the cause tells what the Sentinels said.
    told = (error.__cause__ or error) if isinstance(error, MasterNotFoundError) else error
    where, said = redis_server_name(url), str(told)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        reason = said.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "it can't be verified"
        return ServerUnreachableError(
            f"the certificate of Redis at {where} is not trusted ({reason}): check ssl_ca_certs in redis_url"
        )
    if isinstance(error, MasterNotFoundError):
        return _explain_sentinels(error, where)
    if (found := meaning(error)) is None:
        return ServerUnreachableError(
            f"Redis at {where} can't be reached ({type(error).__name__}): is it running, is redis_url right?"
        )
    kind = ServerUnreachableError if found.cause is Cause.SETTING else RefusedForNowError
    return kind(f"Redis at {where} {found.sentence}")


def _explain_sentinels(error: MasterNotFoundError, where: str) -> SchedulerError:
    told = error.__cause__
    if isinstance(told, (AuthenticationError, NoPermissionError)):
        return ServerUnreachableError(
            f"Redis {where}: a Sentinel refused the login: check sentinel_username and sentinel_password in redis_url"
        )
    silent = "" if told is None else f" ({type(told).__name__})"
    return ServerUnreachableError(
        f"no Sentinel names a living master{silent}: Redis {where}: are they running, do they watch a master of "
        "this name?"
    )
