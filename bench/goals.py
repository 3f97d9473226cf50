"""What the figures are held against. They were set before anything was measured, for two cores and loopback."""

from __future__ import annotations

from dataclasses import replace

from scheduler_core.benchmark.figure import Figure

AT_LEAST = {
    "throughput.percent_of_limit": 25.0,
    "throughput.fires_per_second": 25_000.0,
    "add_jobs.new_per_second": 20_000.0,
}
AT_MOST = {
    "lateness.1000.p50_ms": 0.5,
    "lateness.1000.p99_ms": 3.0,
    "lateness.5000.p99_ms": 10.0,
    "lateness.1000.callback.p50_ms": 0.5,
    "lateness.1000.callback.p99_ms": 3.0,
    "lateness.5000.callback.p99_ms": 10.0,
    "tick.busy.ratio": 1.3,
    "tick.turns.ratio": 1.3,
    "memory.leader_mb": 200.0,
    "takeover.p99_ms": 100.0,
    "start_up.import_ms": 400.0,
}


def with_goal(figure: Figure) -> Figure:
    """The figure with its goal, if it has one."""
    return replace(
        figure,
        at_least=AT_LEAST.get(figure.key, figure.at_least),
        at_most=AT_MOST.get(figure.key, figure.at_most),
    )
