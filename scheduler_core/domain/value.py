"""Values that a fire makes by the handful: frozen for whoever writes and checks the code, cheap to make at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, slots, kw_only=False):
        """A dataclass that the type checker keeps from being changed.

        Python freezes one by setting each field through `object.__setattr__`: making a run takes four times as long
        then, and making what one fire needs takes longer than planning it (measured).
        """
        assert frozen
        return dataclass(slots=slots, kw_only=kw_only, unsafe_hash=True)


__all__ = ["value"]
