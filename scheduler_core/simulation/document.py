"""A simulation as one JSON document."""

from __future__ import annotations

from typing import Any

from scheduler_core.simulation.simulation import Simulation


def as_document(simulation: Simulation) -> dict[str, Any]:
    """Everything that was found; durations in seconds, instants aware in UTC, days and hours of local time."""
    span, load = simulation.span, simulation.load
    busiest_day, busiest_hour = load.busiest
    return {
        "since": span.since,
        "until": span.until,
        "days": len(span.days),
        "timezone": span.timezone,
        "jobs": simulation.jobs,
        "fires": load.total,
        "busiest_hour": {"since": busiest_day.edges[busiest_hour], "fires": load.highest},
        "load": [
            {"day": day.date.isoformat(), "fires": list(hours)}
            for day, hours in zip(span.days, load.fires, strict=True)
        ],
        "stampedes": [
            {
                "instant": stampede.instant,
                "jobs": stampede.count,
                "days": stampede.days,
                "job_ids": [job.job_id for job in stampede.jobs],
            }
            for stampede in simulation.stampedes.top
        ],
        "steady_jobs": simulation.stampedes.steady_jobs,
        "overlaps": [
            {
                "job_id": clash.job.job_id,
                "overlap": clash.overlap,
                "duration": clash.job.duration_seconds,
                "runs": clash.runs,
                "skipped": clash.skipped,
                "queued": clash.queued,
                "longest_wait": clash.longest_wait_seconds,
                "peak": clash.peak,
                "first_at": clash.first_at,
                "played_until": clash.played_until,
            }
            for clash in simulation.clashes
        ],
        "known_durations": simulation.known_durations,
        "clock_changes": [
            {
                "instant": change.instant,
                "timezone": change.timezone,
                "shift": change.shift_seconds,
                "effect": change.effect,
                "wall_times": change.wall_times,
                "job_ids": [job.job_id for job in change.jobs],
            }
            for change in simulation.clock_changes
        ],
        "gaps": [{"since": gap.since, "until": gap.until, "seconds": gap.seconds} for gap in simulation.gaps],
        "silent": simulation.silent,
        "suggestions": [
            {"text": advice.text, "fields": advice.fields, "job_ids": [job.job_id for job in advice.jobs]}
            for advice in simulation.advice
        ],
    }
