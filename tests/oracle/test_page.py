"""The examples of docs/schedules.md do what the page says."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"


def test_the_examples_of_the_page() -> None:
    # A block of Markdown ends with its fence; to doctest that would be output.
    text = PAGE.read_text(encoding="utf-8").replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    result = runner.run(examples, out=said.append)
    assert result.attempted > 15
    assert result.failed == 0, "".join(said)
