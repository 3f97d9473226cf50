"""Signatures that are written out, for functions that take whatever they are given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

S = TypeVar("S", bound=Callable[..., Any])


def written_out(implementation: Callable[..., Any]) -> Callable[[S], S]:
    """Have `implementation` called by the signature, the name and the docstring of the function below it.

    That function is never called: it is what type checkers, `help()`, `inspect.signature` and editors read. The
    implementation sees what was given and nothing else, and so can tell a default from a value, and say by our own
    errors, all at once, what is wrong.
    """

    def dress(signature: S) -> S:
        dressed: S = functools.update_wrapper(implementation, signature)  # type: ignore[assignment]
        return dressed

    return dress
