"""What a replica can call, as it tells the others: by which names, and for which program's jobs.

Two programs that share a schema may both have a function `jobs:run`. Their jobs are kept apart by the *application*
whose code added them: another application's replica does not call what merely bears the same name (huey #436, taskiq
#507). A job that no code added (API, command line, a file) belongs to no application, and calls what somebody has
declared, marked or allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Abilities:
    """One replica's.

    Parameters: application, whose jobs it calls; callbacks, names that its code has declared or marked; packages, the
    top-level packages whose own functions it calls for jobs that its code added; allows, `allowed_callbacks` as SQL's
    LIKE has them.
    """

    application: str = ""
    callbacks: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    allows: tuple[str, ...] = ()


def is_bound_to_program(reference: str) -> bool:
    """Whether a callback's name means something in one program alone: what its script defines, closures and such."""
    return reference.startswith("__main__:") or "<" in reference


def as_like(allowed_callbacks: Iterable[str]) -> tuple[str, ...]:
    """`allowed_callbacks` as patterns of LIKE, for whole names; a set in brackets stands for any one character."""
    patterns = []
    for allowed in allowed_callbacks:
        text = re.sub(r"\[!?\]?[^\]]*\]", "?", allowed)
        like = re.sub(r"([\\%_])", r"\\\1", text).replace("*", "%").replace("?", "_")
        patterns.append(like if ":" in allowed else f"{like}:%")
    return tuple(patterns)
