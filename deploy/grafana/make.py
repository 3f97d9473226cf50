"""Writes scheduler.json, the dashboard for Grafana 10 and later: `python deploy/grafana/make.py`.

Panels are values here, so that a change is a line and not a screen of JSON. A panel is 24 / n wide in a row of n.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("scheduler.json")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
OURS = 'job=~"$job"'


@dataclass(frozen=True)
class Panel:
    """One panel: its title, what it shows as (expression, legend), unit, kind, and what it means."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str
    about: str
    kind: str = "timeseries"
    mappings: dict[str, str] = field(default_factory=dict)


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """p50, p95 and p99 of a histogram over all replicas."""
    return tuple(
        (f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{OURS}}}[$__rate_interval])))", f"p{q * 100:g}")
        for q in (0.5, 0.95, 0.99)
    )


def rate(metric: str, by: str, more: str = "") -> str:
    """How often per second, summed over replicas."""
    return f"sum by ({by}) (rate({metric}{{{OURS}{more}}}[$__rate_interval]))"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Is it well?",
        (
            Panel(
                "Led",
                ((f"max(scheduler_db_led{{{OURS}}})", "led"),),
                "none",
                "Whether a living replica holds the leader's seat.",
                "stat",
                {"0": "NOBODY LEADS", "1": "led"},
            ),
            Panel(
                "Term", ((f"max(scheduler_db_term{{{OURS}}})", "term"),), "none", "Grows with each takeover.", "stat"
            ),
            Panel(
                "Replicas",
                (
                    (f"max(scheduler_db_replicas{{{OURS}}})", "live"),
                    (f"sum(scheduler_ready{{{OURS}}})", "ready"),
                ),
                "none",
                "Those that Postgres knows to live, and those that Prometheus sees ready.",
                "stat",
            ),
            Panel(
                "Most overdue job",
                ((f"max(scheduler_db_job_most_overdue_seconds{{{OURS}}})", "overdue for"),),
                "s",
                "0 when every due job has been planned.",
                "stat",
            ),
            Panel(
                "Last takeover",
                ((f"max(scheduler_db_last_leaderless_seconds{{{OURS}}})", "nobody led for"),),
                "s",
                "How long nobody led before the last leadership.",
                "stat",
            ),
            Panel(
                "History ahead",
                ((f"min(scheduler_db_history_ahead_seconds{{{OURS}}})", "partitions for"),),
                "s",
                "Below two days something keeps the leader from creating partitions.",
                "stat",
            ),
        ),
    ),
    (
        "Fires",
        (
            Panel(
                "Runs per second, by how they ended",
                ((rate("scheduler_runs_total", "status"), "{{status}}"),),
                "ops",
                "Runs whose end a replica recorded.",
            ),
            Panel(
                "Lateness",
                quantiles("scheduler_run_lateness_seconds"),
                "s",
                "Actual start minus the scheduled instant.",
            ),
            Panel("Duration", quantiles("scheduler_run_duration_seconds"), "s", "From the first attempt to the end."),
        ),
    ),
    (
        "What goes wrong",
        (
            Panel(
                "Attempts per second that did not succeed",
                ((rate("scheduler_attempts_total", "outcome", ', outcome!="succeeded"'), "{{outcome}}"),),
                "ops",
                "`lost`: the replica died while it executed them.",
            ),
            Panel(
                "Runs skipped or cancelled",
                ((rate("scheduler_runs_total", "status, reason", ', reason!=""'), "{{status}} / {{reason}}"),),
                "ops",
                "With the reason that stands in the row.",
            ),
            Panel(
                "Occurrences without a run of their own",
                ((rate("scheduler_occurrences_unfired_total", "status, reason"), "{{status}} / {{reason}}"),),
                "ops",
                "Counted in a row: misfires, pauses, what a calendar excludes.",
            ),
        ),
    ),
    (
        "Work",
        (
            Panel(
                "Runs that have not ended",
                ((f"max by (status) (scheduler_db_runs_unfinished{{{OURS}}})", "{{status}}"),),
                "none",
                "By Postgres; 10,000 at most.",
            ),
            Panel(
                "Slots taken",
                ((f"scheduler_runs_executing{{{OURS}}} / scheduler_run_slots{{{OURS}}}", "{{instance}}"),),
                "percentunit",
                "At 100 % runs wait for max_concurrent_runs.",
            ),
            Panel(
                "Jobs",
                ((f"max by (state) (scheduler_db_jobs{{{OURS}}})", "{{state}}"),),
                "none",
                "Counted once a minute.",
            ),
            Panel(
                "Jobs overdue; runs nobody can call",
                (
                    (f"max(scheduler_db_jobs_overdue{{{OURS}}})", "overdue"),
                    (f"max(scheduler_db_runs_uncallable{{{OURS}}})", "no callback"),
                ),
                "none",
                "Both should be 0.",
            ),
        ),
    ),
    (
        "Election",
        (
            Panel(
                "Who leads",
                ((f"scheduler_leading_term{{{OURS}}} > 0", "{{instance}}"),),
                "none",
                "The term, by the replica that leads in it.",
            ),
            Panel(
                "States entered",
                ((rate("scheduler_election_transitions_total", "state"), "{{state}}"),),
                "ops",
                "Silence is what a healthy election looks like.",
            ),
            Panel(
                "Leaderships, by what began them",
                ((f"sum by (reason) (increase(scheduler_leaderships_total{{{OURS}}}[$__range]))", "{{reason}}"),),
                "none",
                "Within the time shown.",
                "stat",
            ),
            Panel(
                "Taken over, refused, late",
                (
                    (rate("scheduler_runs_adopted_total", "job"), "runs adopted"),
                    (rate("scheduler_claims_refused_total", "job"), "claims refused"),
                    (rate("scheduler_outcomes_late_total", "job"), "outcomes late"),
                ),
                "ops",
                "What a takeover leaves behind: the fence and recovery at work.",
            ),
        ),
    ),
    (
        "Replicas and servers",
        (
            Panel("Claim", quantiles("scheduler_claim_duration_seconds"), "s", "How long Postgres took for a claim."),
            Panel(
                "Outcomes written",
                quantiles("scheduler_outcome_write_duration_seconds"),
                "s",
                "How long Postgres took for a batch.",
            ),
            Panel(
                "Loop blocked",
                ((f"rate(scheduler_loop_blocked_seconds_total{{{OURS}}}[$__rate_interval])", "{{instance}}"),),
                "percentunit",
                "Share of the time in which something kept the loop from moving.",
            ),
            Panel(
                "Errors per second",
                (
                    (rate("scheduler_lease_errors_total", "job"), "Redis: lease"),
                    (rate("scheduler_claim_errors_total", "job"), "Postgres: claim"),
                    (rate("scheduler_outcome_write_errors_total", "job"), "Postgres: outcomes"),
                ),
                "ops",
                "Servers that did not answer as they should.",
            ),
        ),
    ),
    (
        "Processes",
        (
            Panel(
                "CPU",
                ((f"rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval])", "{{instance}}"),),
                "percentunit",
                "Cores.",
            ),
            Panel("Memory", ((f"process_resident_memory_bytes{{{OURS}}}", "{{instance}}"),), "bytes", "Resident."),
            Panel(
                "Outcomes queued",
                ((f"scheduler_outcomes_queued{{{OURS}}}", "{{instance}}"),),
                "none",
                "Waiting for Postgres.",
            ),
            Panel(
                "Clock skew",
                ((f"scheduler_clock_skew_seconds{{{OURS}}}", "{{instance}}"),),
                "s",
                "Against Postgres's clock.",
            ),
        ),
    ),
)

ROW_HEIGHT, STAT_HEIGHT, PANEL_HEIGHT = 1, 4, 8


def dashboard() -> dict[str, Any]:
    """The whole document."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        place = {"x": 0, "y": top, "w": 24, "h": ROW_HEIGHT}
        panels.append({"type": "row", "id": len(panels) + 1, "title": title, "gridPos": place, "panels": []})
        top += ROW_HEIGHT
        height = STAT_HEIGHT if all(panel.kind == "stat" for panel in row) else PANEL_HEIGHT
        width = 24 // len(row)
        for index, panel in enumerate(row):
            place = {"x": index * width, "y": top, "w": width, "h": height}
            panels.append(_panel(panel, len(panels) + 1, place))
        top += height
    return {
        "title": "scheduler-core",
        "uid": "scheduler-core",
        "description": "Fires, lateness, failures, the election. Made by deploy/grafana/make.py.",
        "tags": ["scheduler"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource_variable(), _job_variable()]},
        "annotations": {"list": [_takeovers()]},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.title == "Clock skew":
        del defaults["min"]
    if panel.mappings:
        options = {value: {"text": text, "index": i} for i, (value, text) in enumerate(panel.mappings.items())}
        defaults["mappings"] = [{"type": "value", "options": options}]
    return {
        "type": panel.kind,
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend, "datasource": DATASOURCE}
            for i, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _job_variable() -> dict[str, Any]:
    query = "label_values(scheduler_ready, job)"
    return {
        "name": "job",
        "type": "query",
        "label": "Scheduler",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "jobs"},
        "refresh": 2,
        "includeAll": True,
        "multi": False,
        "current": {"text": "All", "value": "$__all"},
    }


def _takeovers() -> dict[str, Any]:
    return {
        "name": "Takeovers",
        "enable": True,
        "datasource": DATASOURCE,
        "expr": f"max(changes(scheduler_db_term{{{OURS}}}[$__interval])) > 0",
        "titleFormat": "a new term",
        "iconColor": "orange",
    }


def text() -> str:
    """As it stands in the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
