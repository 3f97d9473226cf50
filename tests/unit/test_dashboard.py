"""What pages say of values, and how one reader serves all who watch: without a server, a database or a browser."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from waiting import eventually_async

from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.web.pages import hub as hub_module
from scheduler_core.web.pages.actions import _told
from scheduler_core.web.pages.activity import BUCKET_SECONDS, FRESH_SECONDS, WINDOW_SECONDS, Activity
from scheduler_core.web.pages.done import done_words
from scheduler_core.web.pages.hub import STALE, Hub, message_of
from scheduler_core.web.pages.rendering import environment, link_in
from scheduler_core.web.pages.replicas import LEAST_WIDTH, MOST_LANES, WIDTH, timeline
from scheduler_core.web.pages.sign_in import _place
from scheduler_core.web.pages.wording import ago, job_state, rate, span, strip_words, when
from scheduler_core.web.problem import Problem

NOW = datetime(2026, 3, 4, 12, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"),
        (0.00042, "0.4 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (3.204, "3.2 s"),
        (75, "1 min 15 s"),
        (7500, "2 h 5 min"),
        (-0.5, "-500 ms"),
    ],
)
def test_a_span_is_as_short_as_can_be_read(seconds: float | None, told: str) -> None:
    assert span(seconds) == told


def test_an_instant_has_its_date_where_that_is_not_todays() -> None:
    assert ">12:30:14<" in when(NOW - timedelta(seconds=1), NOW)
    assert ">Mar 3 12:30:15<" in when(NOW - timedelta(days=1), NOW)
    assert ">2025-03-04 12:30:15<" in when(NOW - timedelta(days=365), NOW)
    assert "in 2 min" in when(NOW + timedelta(minutes=2), NOW)
    assert ago(NOW, NOW) == "just now"
    assert rate(1234.4) == "1,234"


def test_a_jobs_state_in_a_word() -> None:
    row: dict[str, Any] = {
        "enabled": True,
        "auto_disabled_at": None,
        "paused_at": None,
        "paused_until": None,
        "finished_at": None,
        "due_at": NOW,
        "consecutive_failures": 0,
    }
    assert job_state(row, NOW)[0] == "active"
    assert job_state(row | {"consecutive_failures": 2}, NOW)[0] == "failing"
    assert job_state(row | {"due_at": NOW - timedelta(seconds=3)}, NOW)[0] == "overdue"
    assert job_state(row | {"paused_at": NOW}, NOW)[0] == "paused"
    assert job_state(row | {"paused_at": NOW, "paused_until": NOW}, NOW)[0] == "active"
    assert job_state(row | {"auto_disabled_at": NOW}, NOW)[0] == "disabled after failures"
    assert job_state(row | {"enabled": False}, NOW)[0] == "disabled"


def test_every_status_has_a_sign_of_its_own() -> None:
    """No two of them differ by colour alone."""
    from xml.etree import ElementTree

    from scheduler_core.domain.runs.run import RunStatus

    source, _, _ = environment().loader.get_source(environment(), "signs.svg")  # type: ignore[union-attr]
    drawn = {
        symbol.attrib["id"]: "".join(ElementTree.tostring(part, encoding="unicode") for part in symbol)
        for symbol in ElementTree.fromstring(source)
    }
    shapes = [drawn[f"s-{status.value}"] for status in RunStatus]
    assert len(set(shapes)) == len(shapes)


def test_a_strip_says_what_it_shows() -> None:
    runs = [{"status": "succeeded"}] * 3 + [{"status": "failed"}]
    assert strip_words(runs) == "last 4 runs: 3 succeeded, 1 failed"
    assert strip_words([]) == "no runs yet"


def test_what_was_done_is_told_in_our_words_only() -> None:
    assert done_words({"done": "backfilled", "count": "12"}) == (
        "12 runs are made; the leader executes them in order, beside the schedule."
    )
    assert "0 runs" in (done_words({"done": "backfilled", "count": "<b>"}) or "")
    assert done_words({"done": "<script>"}) is None


def test_a_name_that_looks_like_a_place_for_a_name_stays_what_it_is() -> None:
    values = {"id": "{version}", "version": "7"}
    assert _told("Bring back version {version} of {id}?", values) == "Bring back version 7 of {version}?"


@pytest.mark.parametrize(
    "wanted", ["//evil.test", "/\\evil.test", "https://evil.test", "evil", "", "/a\nb", "/" + "a" * 2000]
)
def test_nobody_is_sent_to_another_site(wanted: str) -> None:
    assert _place(wanted) == "/"


def test_somebody_is_sent_where_they_wanted_to_go() -> None:
    assert _place("/job?id=a%2Fb") == "/job?id=a%2Fb"


def test_links_are_below_the_root_and_escaped() -> None:
    assert link_in("/scheduler", "/job", id="a/b&c", done=None) == "/scheduler/job?id=a%2Fb%26c"


def term(number: int, began: float, ended: float | None, instance: str = "a") -> dict[str, Any]:
    return {
        "term": number,
        "instance_id": instance,
        "acquired_at": NOW - timedelta(seconds=began),
        "ended_at": None if ended is None else NOW - timedelta(seconds=ended),
        "end_reason": None,
    }


def test_a_timeline_has_a_bar_per_term_inside_of_its_window() -> None:
    start = NOW - timedelta(seconds=100)
    terms = [term(4, 40, None, "b"), term(3, 50.001, 50, "a"), term(2, 150, 60, "a"), term(1, 300, 200, "c")]
    bars, lanes = timeline(terms, start, NOW)
    assert lanes == ["b", "a"]
    assert [(bar.term, bar.lane) for bar in bars] == [(2, 1), (3, 1), (4, 0)]
    assert (bars[0].x, bars[0].width) == (0.0, WIDTH * 0.4)
    assert bars[1].width == LEAST_WIDTH
    assert bars[2].x + bars[2].width == WIDTH


def test_of_many_leaders_the_oldest_share_a_lane() -> None:
    terms = [term(30 - n, n * 3 + 3, n * 3, f"r{n}") for n in range(20)]
    bars, lanes = timeline(terms, NOW - timedelta(seconds=100), NOW)
    assert len(lanes) == MOST_LANES
    assert lanes[-1] == "others"
    assert max(bar.lane for bar in bars) == MOST_LANES - 1


class Counted:
    """Stands where the store stands, and answers from a list of fires: (second since 1970, how many)."""

    def __init__(self, fires: dict[int, int]) -> None:
        self.fires = fires
        self.asked: list[tuple[int, int]] = []

    async def buckets(self, since: datetime, until: datetime, *, bucket_seconds: int) -> list[dict[str, Any]]:
        low, high = int(since.timestamp()), int(until.timestamp())
        self.asked.append((low, high))
        rows: dict[int, int] = {}
        for second, number in self.fires.items():
            if low <= second < high:
                start = second - second % bucket_seconds
                rows[start] = rows.get(start, 0) + number
        rest = {"failed": 0, "skipped": 0, "missed": 0, "p50": 0.001, "p99": 0.002}
        return [{"bucket": start, "fires": number, **rest} for start, number in sorted(rows.items())]


async def test_activity_is_counted_bit_by_bit_and_once() -> None:
    at = int(NOW.timestamp())
    fires = dict.fromkeys(range(at - WINDOW_SECONDS - 100, at + 200), 3)
    store, activity = Counted(fires), Activity()
    await activity.look(store, NOW)  # type: ignore[arg-type]
    assert activity.is_whole(NOW)
    assert [row["fires"] for row in activity.series(NOW)] == [3 * BUCKET_SECONDS] * (WINDOW_SECONDS // BUCKET_SECONDS)
    counted = len(store.asked)
    await activity.look(store, NOW)  # type: ignore[arg-type]
    assert len(store.asked) == counted, "who asks again at once gets what is there"
    activity._looked_at = float("-inf")
    await activity.look(store, NOW + timedelta(seconds=1))  # type: ignore[arg-type]
    low, high = store.asked[counted]
    assert high - low <= FRESH_SECONDS + 2 * BUCKET_SECONDS
    assert len(store.asked) <= counted + 2, "then only what is fresh, and at most one older stretch"


async def test_what_happened_while_nobody_looked_is_counted() -> None:
    at = int(NOW.timestamp())
    store, activity = Counted(dict.fromkeys(range(at - 1000, at + 400), 2)), Activity()
    await activity.look(store, NOW)  # type: ignore[arg-type]
    activity._looked_at = float("-inf")
    later = NOW + timedelta(seconds=180)
    await activity.look(store, later)  # type: ignore[arg-type]
    assert {row["fires"] for row in activity.series(later)} == {2 * BUCKET_SECONDS}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(hub_module, "ROUND_SECONDS", 0.01)
    return Hub()


async def test_fifty_who_watch_cost_one_reading(hub: Hub) -> None:
    """All of them get the same bytes, and a round reads the view once however many watch."""
    readings = 0

    async def read() -> str:
        nonlocal readings
        readings += 1
        return f"reading\n{readings}"

    async def watch() -> list[bytes]:
        got, serial = [], 0
        async with hub.watch(("overview",), read) as view:
            while len(got) < 3:
                serial, message = await view.after(serial)
                got.append(message)
        return got

    heard = await asyncio.wait_for(asyncio.gather(*(watch() for _ in range(50))), 30)
    assert all(messages[-1].startswith(b"data: reading\ndata: ") for messages in heard)
    assert readings <= hub.rounds + 1
    assert readings < 50
    assert not hub.watched
    await eventually_async(lambda: hub.is_idle)


async def test_only_news_is_sent_and_trouble_is_told_and_passes(hub: Hub) -> None:
    texts = iter(["same", "same", "same"])
    is_down = False

    async def read() -> str:
        if is_down:
            raise ServerUnreachableError("Postgres is gone")
        return next(texts, "other")

    async with hub.watch(("jobs",), read) as view:
        serial, message = await asyncio.wait_for(view.after(0), 30)
        assert message == message_of("same")
        serial, message = await asyncio.wait_for(view.after(serial), 30)
        assert (serial, message) == (2, message_of("other"))
        is_down = True
        serial, message = await asyncio.wait_for(view.after(serial), 30)
        assert message == STALE
        is_down = False
        _, message = await asyncio.wait_for(view.after(serial), 30)
        assert message == message_of("other")


async def test_a_defect_of_one_view_leaves_the_others_their_news(hub: Hub) -> None:
    async def broken() -> str:
        raise KeyError("a defect")

    async def whole() -> str:
        return "well"

    async with hub.watch(("broken",), broken) as one, hub.watch(("whole",), whole) as other:
        assert (await asyncio.wait_for(other.after(0), 30))[1] == message_of("well")
        assert (await asyncio.wait_for(one.after(0), 30))[1] == STALE


async def test_too_many_are_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MOST_WATCHERS", 1)

    async def read() -> str:
        return ""

    async with hub.watch(("one",), read):
        with pytest.raises(Problem, match="too many pages"):
            async with hub.watch(("one",), read):
                pass
    await eventually_async(lambda: not hub.watched)


def test_a_text_with_line_ends_of_all_kinds_is_one_event() -> None:
    """A name that holds a line end must not begin an event of its own."""
    message = message_of("a\r\nevent: evil\u2028b\x85c\rd")
    assert message.endswith(b"\n\n")
    assert all(line.startswith(b"data: ") for line in message.rstrip(b"\n").split(b"\n"))
