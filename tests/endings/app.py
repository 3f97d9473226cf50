"""The module that a replica is started with: a job for each case that the variable ENDINGS chooses, two fires each."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from endings import catalogue
from endings.product import MAX_RETRIES, OCCURRENCES, Case, cases, chosen
from scheduler_core import job

PLACE, CHOICE = os.environ["ENDINGS"].split("/")
STARTS_AT = datetime.fromisoformat(os.environ["ENDINGS_START"])


def policies(case: Case) -> dict[str, object]:
    """What the job of a case is like, wherever it is called."""
    limited = case.ending in catalogue.LIMITED
    return {
        "delivery": case.delivery,
        "max_retries": MAX_RETRIES,
        "retry_delay": 0.1,
        "overlap": "queue",
        "timeout": 0.2 + catalogue.PAUSE_SECONDS[case.when] if limited else None,
        "use_distributed_lock": case.locks,
        "lock_key": f"{os.environ.get('WITNESS_FILE')} {case.job_id}" if case.locks else None,
    }


if PLACE != "ManualScheduler":
    for case in chosen(cases(PLACE), CHOICE):
        job(
            case.job_id,
            every=1,
            start_at=STARTS_AT,
            end_at=STARTS_AT + timedelta(seconds=OCCURRENCES - 0.5),
            executor=case.place,
            misfire="all",
            misfire_grace=3600,
            **policies(case),
        )(getattr(catalogue, catalogue.name_of(case.ending, case.kind, case.when)))
