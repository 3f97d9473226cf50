"""Where the latest runs are looked for: every id in one span, none in two, the newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from scheduler_core.storage.reads.pages import BEGINNING, LAST_ID, spans

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(1971, 1, 2), datetime(9997, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.none() | st.uuids(), st.none() | INSTANTS, st.none() | INSTANTS)
def test_spans_follow_each_other_without_a_gap(
    before: UUID | None, since: datetime | None, until: datetime | None
) -> None:
    found = list(spans(before, since, until, NOW))
    assert 1 <= len(found) <= 7
    if before is not None:
        assert found[0].before == before
    elif until is None:
        assert found[0].before == LAST_ID
    for earlier, later in pairwise(found):
        assert later.before == earlier.first
        assert later.first < earlier.first
    if since is None:
        assert found[-1].first.int == 0
        assert found[-1].earliest == BEGINNING


def test_the_first_span_is_short() -> None:
    first = next(iter(spans(None, None, None, NOW)))
    assert NOW - first.earliest == timedelta(days=1, minutes=1)
