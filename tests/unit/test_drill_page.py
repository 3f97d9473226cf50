"""The report of a drill as a page: whole, escaped, needing nothing from elsewhere; the command that plays it again."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest
import typer
from drill_evidence import honest

from scheduler_core.cli.drill import drill
from scheduler_core.drill.checker import check
from scheduler_core.drill.evidence import Evidence
from scheduler_core.drill.faults import FAULTS
from scheduler_core.drill.page import render_page
from scheduler_core.drill.page_figures import figures
from scheduler_core.drill.schedule import DrillPlan, planned_faults, replay_command
from scheduler_core.drill.takeover import takeover
from scheduler_core.drill.verdict import PROMISES

KINDS = ("kill", "stop-10", "kill", "kill")
VOID = frozenset({"meta", "img"})
HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Whole(HTMLParser):
    """Each element is closed in its turn; which ones there are, and with which attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(evidence: Evidence) -> str:
    says = {name: fault.says for name, fault in FAULTS.items()}
    return render_page(evidence, check(evidence), takeover(evidence), says)


def test_it_tells_all_and_asks_nobody() -> None:
    evidence = replace(honest(KINDS), again="scheduler drill --seed 11")
    told = page(evidence)
    elements = Whole(told).seen
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "form"}
    sources = [given["src"] or "" for tag, given in elements if tag == "img"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/svg+xml;base64,")
    assert not re.search(r"url\(|@import|https?://", told)
    assert "default-src 'none'" in told
    for word in (
        "prefers-color-scheme: dark",
        "@media print",
        "width=device-width",
        "Held.",
        "scheduler drill --seed 11",
    ):
        assert word in told
    for kind in KINDS:
        assert escape(FAULTS[kind].says) in told
    assert all(escape(promise) in told for promise in PROMISES.values())
    assert all(term.instance_id in told for term in evidence.terms)


def test_a_broken_drill_says_what_broke() -> None:
    evidence = honest(KINDS)
    told = page(replace(evidence, runs=evidence.runs[30:], calls=evidence.calls[60:]))
    Whole(told)
    assert "Broken." in told
    assert '<h3 class="bad">unaccounted: ' in told


def test_what_comes_from_elsewhere_is_text() -> None:
    evidence = honest(KINDS)
    faults = tuple(replace(fault, target=HOSTILE) for fault in evidence.faults)
    terms = tuple(replace(term, end_reason=HOSTILE) for term in evidence.terms)
    told = page(replace(evidence, faults=faults, terms=terms, again=HOSTILE))
    elements = Whole(told).seen
    assert "script" not in {tag for tag, _ in elements}
    assert sum(tag == "img" for tag, _ in elements) == 1
    assert not any(name.startswith("on") for _, given in elements for name in given)


def test_each_figure_has_a_sentence_and_what_asks_it_again() -> None:
    evidence = honest(KINDS)
    found = list(figures(evidence, check(evidence), takeover(evidence)))
    assert len({figure.name for figure in found}) == len(found) > 10
    for figure in found:
        assert figure.means.endswith(".")
        assert (figure.again.startswith("SELECT ") and figure.again.endswith(";")) is figure.is_sql
        assert not figure.is_bad


@pytest.mark.parametrize("faults", [("kill",), ("two", "all-down"), tuple(FAULTS)])
def test_the_command_that_plays_it_again_gives_the_same_faults(faults: tuple[str, ...]) -> None:
    plan = DrillPlan(4, faults, 25, 4711, 1.5, None, None, 5.0, keep=False)
    app = typer.Typer()
    app.command()(drill)
    words = shlex.split(replay_command(plan))
    assert words[:2] == ["scheduler", "drill"]
    asked = typer.main.get_command(app).make_context("drill", words[2:]).params
    again = DrillPlan(
        asked["replicas"], tuple(asked["fault"][0].split(",")), asked["kills"], asked["seed"], asked["ttl"], None, None,
        asked["all_down_seconds"] if "all-down" in faults else 5.0, keep=False,
    )  # fmt: skip
    assert again == plan
    assert planned_faults(again) == planned_faults(plan)
