"""How many runs of the jobs that share a key may execute at once, and how many may begin in a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scheduler_core.domain.wording import shown

_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(s|sec|second|m|min|minute|h|hour|d|day)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds: as many at once, if nothing has begun for as long; from then on evenly spread."""

    count: int
    per_seconds: int

    @property
    def every_seconds(self) -> float:
        """How long it takes until one more may begin."""
        return self.per_seconds / self.count


@dataclass(frozen=True, slots=True)
class Limit:
    """What a job's runs are counted under: the key, how many may execute at once, and how many may begin."""

    key: str
    most: int | None
    rate: Rate | None


def parse_rate(text: str) -> Rate:
    """A rate as it is stored. Raises ValueError."""
    unit = text.partition("/")[2]
    return Rate(int(text.partition("/")[0]), _UNIT_SECONDS[unit])


def check_rate(value: object) -> str:
    """A rate as it is kept, "100/minute". Raises ValueError."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError(f'can\'t be {shown(value)}, give as many as "100/minute": per second, minute, hour or day')
    unit = next(name for name in _UNIT_SECONDS if name.startswith(match[2].lower()))
    return f"{int(match[1])}/{unit}"
