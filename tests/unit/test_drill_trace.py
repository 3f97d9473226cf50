"""The format of traces: what is written is read again, what is no event is named, and the page has every event."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.drill.trace import SAYS, Event, Line, Write, as_text, read_lines

PAGE = (Path(__file__).parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITE = Write("run", "r", "7", {"status": "pending", "term": 3}, {"status": "running", "term": 3})
LINES = [
    Line(AT, event, "i", 3, "8", "6", "r", 1, "é\n", AT, AT, (2, 3), (WRITE, Write("job", "j"))) for event in Event
]


def test_what_is_written_is_read_again() -> None:
    texts = [as_text(line) for line in LINES]
    assert all("\n" not in text for text in texts)
    assert list(read_lines(texts)) == LINES
    assert as_text(Line(AT, Event.EXIT, "i")) == '{"at": "2026-03-01T12:00:00+00:00", "event": "exit", "by": "i"}'


@pytest.mark.parametrize(
    "text",
    ["nonsense", "[]", '{"event": "exit"}', '{"at": "2026-03-01T12:00:00+00:00", "event": "exits"}',
     '{"at": "noon", "event": "exit"}', '{"at": "2026-03-01T12:00:00+00:00", "event": "exit", "whom": "i"}',
     '{"at": "2026-03-01T12:00:00+00:00", "event": "end", "writes": [{"name": "r"}]}'],
)  # fmt: skip
def test_what_is_no_event_is_named_by_its_line(text: str) -> None:
    with pytest.raises(InvalidSettingsError, match=r"^line 2 is no event of a trace .*docs/traces\.md"):
        list(read_lines([as_text(LINES[0]), text]))


def test_the_page_says_what_each_event_is() -> None:
    assert set(SAYS) == set(Event)
    for event, says in SAYS.items():
        assert f"| `{event}` | {says} |" in PAGE
