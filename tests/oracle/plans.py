"""What `planning.plan` makes of a span that nobody planned, beside the walk's occurrences of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from scheduler_core import ScheduleJob
from scheduler_core.domain.planning.planning import MAX_FIRES_PER_PLAN, StoredJob, jitter_offset, plan

from .compare import Tally
from .occurrences import Definition
from .walk import Walk

POLICIES = ("latest", "all", "skip")


def compare_plan(tally: Tally, definition: Definition, expected: list[datetime], walked: Walk, random: Random) -> None:
    """Plan once, at a random time after a random cursor; every occurrence in between is a fire or is counted."""
    if not expected:
        return
    cursor = expected[random.randrange(len(expected)) // random.choice((1, 10, 1000))]
    now = random.choice(walked.counted).instant
    compare_plan_at(tally, definition, expected, cursor, now if now >= cursor else walked.until, random)


def compare_plan_at(
    tally: Tally, definition: Definition, expected: list[datetime], cursor: datetime, now: datetime, random: Random
) -> None:
    """The same, for these occurrences, this cursor and this time."""
    misfire = random.choice(POLICIES)
    grace = random.choice((0, 10, 600, 86_400))
    limit = random.choice((1, 3, 100, 5000))
    job = ScheduleJob(
        job_id="j", name="j", callback="app:f", misfire=misfire, misfire_grace=grace, catch_up_limit=limit,
        **definition.fields(),
    )  # fmt: skip
    stored = job.definition("UTC")
    made = plan(
        StoredJob(
            definition=stored,
            version=1,
            anchor=definition.anchor,
            schedule=stored.schedule(definition.anchor),
            next_run=cursor,
        ),
        now,
    )
    due = [instant for instant in expected if cursor <= instant <= now]
    late = [instant for instant in due if instant < now - timedelta(seconds=grace)]
    fresh = due[len(late) :]
    kept = {"skip": 0, "all": limit, "latest": 0 if fresh else 1}[misfire]
    dropped = late[: max(0, len(late) - kept)]
    fires = due[len(dropped) :]
    following = next((instant for instant in expected if instant > now), None)
    if len(fires) > MAX_FIRES_PER_PLAN:
        following = fires[MAX_FIRES_PER_PLAN]
        fires = fires[:MAX_FIRES_PER_PLAN]

    tally.counts["plans"] += 1
    tally.counts["planned occurrences"] += len(due)
    where = f"plan at {now} from {cursor}, {misfire} {limit}, grace {grace}"
    ours = [fire.scheduled_for for fire in made.fires]
    if ours != fires:
        tally.mismatch(definition, f"{where}: fires", ours[:5], fires[:5])
    counted = [(missed.count, missed.first, missed.last) for missed in made.missed]
    if counted != ([(len(dropped), dropped[0], dropped[-1])] if dropped else []):
        tally.mismatch(definition, f"{where}: missed", counted, (len(dropped), dropped[:1], dropped[-1:]))
    # Behind the end of the walk the oracle knows nothing.
    if following is not None and made.next_run != following:
        tally.mismatch(definition, f"{where}: next_run", made.next_run, following)


def compare_jitter(tally: Tally, expected: list[datetime], jitter: float) -> None:
    """Each occurrence has one offset, from 0 to `jitter`, whoever asks and in whatever zone."""
    for instant in expected:
        tally.counts["jitter offsets"] += 1
        offset = jitter_offset("j", instant, jitter)
        again = jitter_offset("j", instant.astimezone(), jitter)
        if offset != again or not timedelta(0) <= offset <= timedelta(seconds=jitter):
            tally.counts["mismatches"] += 1
            tally.mismatches.append(f"jitter of {instant}: {offset}, then {again}")
