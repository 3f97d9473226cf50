"""The module that a replica is started with: a job for each case that the variable ENDINGS chooses, two fires each."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from endings import catalogue
from endings.product import cases, chosen, policies
from scheduler_core import job

PLACE, CHOICE = os.environ["ENDINGS"].split("/")
STARTS_AT = datetime.fromisoformat(os.environ["ENDINGS_START"])


if PLACE != "ManualScheduler":
    for case in chosen(cases(PLACE), CHOICE):
        job(
            case.job_id,
            every=1,
            start_at=STARTS_AT,
            end_at=STARTS_AT + timedelta(seconds=case.occurrences - 0.5),
            executor=case.place,
            misfire="all",
            misfire_grace=3600,
            **policies(case),
        )(getattr(catalogue, catalogue.name_of(case.ending, case.kind, case.when)))
