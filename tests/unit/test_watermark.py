"""The low watermark: which looks begin there, and that nothing hides below it for long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler_core.domain.planning.watermark import REST_PER_WORK, WHOLE_EVERY_SECONDS, Watermark

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def look(
    mark: Watermark,
    at: float,
    *,
    took: float = 0.001,
    earliest: datetime | None = None,
    excluding: tuple[str, ...] = (),
) -> datetime | None:
    since = mark.since(at, excluding)
    mark.looked(since, at, at + took, NOW + timedelta(seconds=at), earliest)
    return since


def test_the_first_look_is_whole_and_the_next_begins_at_it() -> None:
    mark = Watermark()
    assert look(mark, 0.0) is None
    assert look(mark, 0.1) == NOW


def test_the_mark_is_never_above_what_was_found() -> None:
    mark = Watermark()
    look(mark, 0.0, earliest=NOW - timedelta(seconds=5))
    assert look(mark, 0.1) == NOW - timedelta(seconds=5)
    look(mark, 0.2, earliest=NOW + timedelta(seconds=9))
    assert look(mark, 0.3) == NOW + timedelta(seconds=0.2), "an at_most_once job may be due between now and then"


def test_a_nudge_and_a_new_term_make_the_next_look_whole() -> None:
    mark = Watermark()
    look(mark, 0.0)
    mark.nudge()
    assert look(mark, 0.1) is None
    assert look(mark, 0.2) is not None
    mark.forget()
    assert look(mark, 0.3) is None


def test_a_job_that_is_left_out_no_more_may_be_due_since_long() -> None:
    mark = Watermark()
    look(mark, 0.0, excluding=("a", "b"))
    assert look(mark, 0.1, excluding=("a", "b", "c")) is not None
    assert look(mark, 0.2, excluding=("a", "b")) is None


def test_whole_looks_rest_in_proportion_to_what_they_cost() -> None:
    mark = Watermark()
    look(mark, 0.0, took=1.0)
    mark.nudge()
    assert look(mark, 2.0) is not None, "a nudge does not make what is dear frequent"
    assert look(mark, 6.5, took=1.0) is None
    assert look(mark, 7.5 + REST_PER_WORK - 0.1) is not None
    assert look(mark, 7.5 + REST_PER_WORK + 0.1) is None


@given(st.lists(st.tuples(st.floats(0.001, 3.0), st.floats(0.0, 0.5), st.booleans()), min_size=1, max_size=60))
def test_nothing_hides_below_for_longer_than_the_rest(steps: list[tuple[float, float, bool]]) -> None:
    mark, at, whole_at, took_whole = Watermark(), 0.0, None, 0.0
    for pause, took, nudged in steps:
        if nudged:
            mark.nudge()
        since = look(mark, at, took=took)
        if since is None:
            whole_at, took_whole = at + took, took
        assert whole_at is not None
        assert at - whole_at <= max(WHOLE_EVERY_SECONDS, REST_PER_WORK * took_whole) + pause
        at += took + pause
