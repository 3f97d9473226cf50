"""Where rows of `jobs` were last seen to lie: hints that spare a walk along the versions of a key.

While somebody keeps a transaction open, nothing that died since is cleaned away, and a job's key leads to every version
that its row ever had since then, the living one last. Its place (Postgres's `ctid`) leads to it straight. A place is
good until the row moves: a statement that finds nothing there, or another job, looks by the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MOST_REMEMBERED = 50_000

Place = tuple[int, int]
"""Page, and position in it."""


class RowPlaces:
    """Places by job_id. A look at what is due tells them, then a claim, which moves the rows; whoever counts its
    outcome takes them away.
    """

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def remember(self, job_ids: Iterable[str], places: Iterable[Place]) -> None:
        """The rows of these jobs were seen there."""
        if len(self._places) > MOST_REMEMBERED:
            self._places.clear()
        self._places.update(zip(job_ids, places, strict=True))

    def take(self, job_ids: Sequence[str]) -> list[Place | None]:
        """Where each lies, as far as is known; it is about to move, and known no more."""
        return [self._places.pop(job_id, None) for job_id in job_ids]
