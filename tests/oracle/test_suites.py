"""Two libraries' test suites beside ours: what differs is listed, with a reason that the documentation explains."""

from __future__ import annotations

from pathlib import Path

import pytest

from .suites import LIBRARIES, REFUSED, REWRITES, accepts, answer, calls, differing, listed, suite

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_differs_is_listed_and_what_is_listed_differs(library: str) -> None:
    found = set(differing(library)) | {text for text in suite(library)["refused"] if accepts(library, text)}
    assert found == set(listed(library))


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_reasons_are_true(library: str) -> None:
    """What a reason says can be written away is written away, and then nothing differs."""
    for expression, asked in differing(library).items():
        reasons = listed(library)[expression]
        if reasons == ["impossible-date"] or "year" in reasons:
            assert {answer(call) for call in asked} == {REFUSED}
        for call in asked:
            if set(reasons) <= set(REWRITES):
                assert answer(call, tuple(reasons)) == call.expected, call
            if "impossible-date" in reasons:
                assert call.expected is None


def test_every_reason_is_explained() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for library in LIBRARIES:
        asked = list(calls(library))
        agreeing = sum(answer(call) == call.expected for call in asked)
        assert f"| {suite(library)['library']} | {len(asked)} | {agreeing} |" in page
        for reasons in listed(library).values():
            for reason in reasons:
                assert f"`{reason}`" in page
