"""The dashboard and the alerts that are shipped: every metric and label that they name exists in a real scrape."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import Metric
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob
from scheduler_core.web.health.metrics import registry_of
from scheduler_core.web.state import WebState

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts" / "scheduler.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "scheduler.json"

ADDED_BY_PROMETHEUS = {"job", "instance"}


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in made if panel["type"] != "row"]


def dashboard_expressions() -> Iterator[str]:
    document = json.loads(DASHBOARD.read_text())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (annotation["expr"] for annotation in document["annotations"]["list"])


def with_values(expression: str) -> str:
    """Grafana's variables as Grafana fills them in."""
    return re.sub(r"\$__(rate_interval|interval|range)", "5m", expression).replace("$job", "s")


EXPRESSIONS = [rule["expr"] for rule in alerts()] + [with_values(e) for e in dashboard_expressions()]


def selectors(expression: str) -> list[tuple[str, list[Any]]]:
    """Every metric that an expression names, with its matchers."""
    found: list[tuple[str, list[Any]]] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, list(node.matchers.matchers)))
        for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
            inner = getattr(node, name, None)
            if isinstance(inner, promql_parser.Expr):
                visit(inner)
        for inner in getattr(node, "args", None) or ():
            visit(inner)

    visit(promql_parser.parse(expression))
    return found


@pytest.fixture
async def scraped(container: Container) -> list[Metric]:
    """What a leader shows that has done something, and leads again."""

    async def work() -> None: ...

    await container.start([ScheduleJob("j", "J", "interval", 0.1, work)])
    scheduler = container.get_scheduler()
    await eventually_async(lambda: scheduler.counters.ended["succeeded", "schedule", ""] > 0)
    await scheduler.resign()
    await eventually_async(lambda: scheduler.leadership is not None and scheduler.leadership.term == 2)
    state = WebState(container)
    await state.observer.look()
    return list(registry_of(state).collect())


async def test_every_metric_and_label_that_is_named_exists(scraped: list[Metric]) -> None:
    series: dict[str, dict[str, set[str]]] = {}
    for family in scraped:
        for sample in family.samples:
            labels = series.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    named = [(name, matchers, text) for text in EXPRESSIONS for name, matchers in selectors(text)]
    assert len(named) > 50
    for name, matchers, text in named:
        assert name in series, f"{name} in {text}"
        for matcher in matchers:
            assert matcher.name in ADDED_BY_PROMETHEUS | set(series[name]), f"{matcher.name} in {text}"
    for text in EXPRESSIONS:
        names = {name for name, _ in selectors(text)}
        for label in re.findall(r"by \(([^)]*)\)", text):
            known = ADDED_BY_PROMETHEUS.union(*(series[name] for name in names))
            assert {part.strip() for part in label.split(",")} <= known, text


async def test_every_metric_is_told_of_in_the_docs(scraped: list[Metric]) -> None:
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for family in scraped:
        if family.name.startswith("scheduler_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            name = f"{name}_info" if family.type == "info" else name
            assert f"`{name}`" in page, name


def test_each_alert_says_how_bad_it_is_and_what_it_means() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names) > 15
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}


def test_the_dashboard_is_what_its_script_makes() -> None:
    script = runpy.run_path(str(DEPLOY / "grafana" / "make.py"))
    assert script["text"]() == DASHBOARD.read_text()


def test_no_two_panels_lie_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(panel["description"] for panel in panels())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: Debian's package prometheus")
def test_promtool_finds_the_rules_right_and_sees_each_alert_fire() -> None:
    for words in (["check", "rules", RULES.name], ["test", "rules", "scheduler.test.yml"]):
        done = subprocess.run(["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
