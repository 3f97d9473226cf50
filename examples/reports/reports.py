"""The functions that jobs.toml names: a report is written once for each occurrence, and old ones are cleaned up."""

import csv
import hashlib
import os
import time
from pathlib import Path

from scheduler_core import RunContext

FOLDER = Path("written")
KEPT_SECONDS = 30 * 86_400


def write(ctx: RunContext, kind: str) -> None:
    """Write the report of this occurrence, unless an earlier attempt has written it."""
    FOLDER.mkdir(exist_ok=True)
    key = hashlib.blake2b(ctx.idempotency_key.encode(), digest_size=6).hexdigest()
    report = FOLDER / f"{kind}-{ctx.scheduled_for:%Y%m%d-%H%M}-{key}.csv"
    if report.exists():
        return
    beside = report.with_suffix(f".{ctx.attempt}.tmp")
    with beside.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["as of", "report"])
        rows.writerow([ctx.scheduled_for.isoformat(), kind])
    os.replace(beside, report)  # whole, or not at all


def clean_up() -> None:
    """Take away reports of more than thirty days ago."""
    for report in FOLDER.glob("*.csv"):
        if time.time() - report.stat().st_mtime > KEPT_SECONDS:
            report.unlink(missing_ok=True)
