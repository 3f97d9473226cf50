"""What Postgres says of the whole scheduler. Every replica tells the same: take `max()` of them, never `sum()`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler_core.domain.situation import Situation
from scheduler_core.web.observer import Observer

GAUGES: tuple[tuple[str, str, Callable[[Situation], float | None]], ...] = (
    ("term", "The number of the last leadership.", lambda s: s.term),
    ("led", "1 while a living replica holds the leader's seat.", lambda s: s.is_led),
    (
        "led_since_timestamp_seconds",
        "When the last leadership began.",
        lambda s: None if s.led_since is None else s.led_since.timestamp(),
    ),
    ("last_leaderless_seconds", "How long nobody led before the last leadership.", lambda s: s.last_leaderless_seconds),
    ("replicas", "Replicas that live.", lambda s: s.replicas),
    ("replicas_eligible", "Replicas that live and may lead.", lambda s: s.eligible_replicas),
    (
        "jobs_overdue",
        "Jobs that have been due for 10 s and that nobody has planned; at most 10,000.",
        lambda s: s.overdue_jobs,
    ),
    ("job_most_overdue_seconds", "How long the most overdue job has been due.", lambda s: s.most_overdue_seconds),
    ("runs_uncallable", "Runs that wait for a replica that has their callback.", lambda s: s.uncallable),
    (
        "history_ahead_seconds",
        "Time until the last day ends for which the run history has a partition.",
        lambda s: s.history_ahead_seconds,
    ),
)


class DatabaseCollector(Collector):
    """The families of the last look; none of them while Postgres does not answer, but `scheduler_db_up`."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def describe(self) -> Iterable[Metric]:
        """Nothing, as for the replica."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What was seen last."""
        situation, census = self._observer.situation, self._observer.census
        yield GaugeMetricFamily("scheduler_db_up", "1 while Postgres answers.", float(situation is not None))
        if situation is None:
            return
        for name, help_text, get in GAUGES:
            value = get(situation)
            if value is not None:
                yield GaugeMetricFamily(f"scheduler_db_{name}", help_text, float(value))
        unfinished = GaugeMetricFamily(
            "scheduler_db_runs_unfinished", "Runs that have not ended; at most 10,000 in all.", labels=["status"]
        )
        for status in ("pending", "queued", "running", "retrying"):
            unfinished.add_metric([status], getattr(situation, status))
        yield unfinished
        jobs = GaugeMetricFamily("scheduler_db_jobs", "Jobs by state, counted once a minute.", labels=["state"])
        for state, count in census.items():
            jobs.add_metric([state], count)
        yield jobs
