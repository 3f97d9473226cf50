"""Every alert's runbook is there, and says what it means, what to ask and what to do; so for every alarm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler_core.domain.alerts.alarm import AlarmKind

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (.+)\n((?:(?!^##).*\n)+)", PAGE, re.MULTILINE))
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts" / "scheduler.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_runbook_of_an_alert_is_where_it_says(rule: dict[str, Any]) -> None:
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (ROOT / file).is_file()
    headings = {re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-"): name for name in SECTIONS}
    assert headings[anchor] == rule["alert"]


@pytest.mark.parametrize("title", [*(rule["alert"] for rule in RULES), *(f"Alarm: {kind}" for kind in AlarmKind)])
def test_a_runbook_says_what_it_means_what_to_ask_and_what_to_do(title: str) -> None:
    section = SECTIONS[title]
    assert re.match(r"\n\S.{20}", section), "what it means"
    assert "**Ask.**" in section
    assert "```sql" in section
    assert len(re.findall(r"^- ", section.partition("**Do.**")[2], re.MULTILINE)) >= 1


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    assert set(SECTIONS) == {rule["alert"] for rule in RULES} | {f"Alarm: {kind}" for kind in AlarmKind}
