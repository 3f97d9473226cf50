"""JSON values as hypothesis finds them: whatever a job may be given, odd numbers and odd orders of keys among them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
KEYS = TEXTS | st.sampled_from(["a", "b", "aa", "z", "é", "日", "🙂", "", "B", "ab", "ba"])
NUMBERS = (
    st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [0.0, -0.0, 1.0, 1e15, 1e16, -1e16, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 2**63, 2**53 + 1]
    )
)


def json_values(max_leaves: int = 25) -> st.SearchStrategy[Any]:
    """Any value that may be an argument, tuples beside lists."""
    return st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXTS,
        lambda inner: (
            st.lists(inner, max_size=6)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(KEYS, inner, max_size=6)
        ),
        max_leaves=max_leaves,
    )


def exactly(value: Any) -> str:
    """A value with what `==` does not see: the order of keys, 1 beside 1.0 and True, lists beside tuples."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {exactly(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(exactly, value))})"
    return f"{type(value).__name__}({value!r})"
