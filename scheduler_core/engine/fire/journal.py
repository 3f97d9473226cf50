"""Where the executing of runs writes down what happens: Postgres by way of the recorder, or a test's ledger."""

from __future__ import annotations

from typing import Protocol

from scheduler_core.domain.runs.run import Outcome
from scheduler_core.engine.fire.active_run import ActiveRun


class Journal(Protocol):
    """What an executor of runs asks of whoever records."""

    @property
    def is_open(self) -> bool:
        """Whether anything can still be written down."""

    async def start_run(self, active: ActiveRun) -> bool:
        """Write down, durably, that the attempt begins; False if the run is not ours any more.

        Raises SchedulerError where nothing is known of it: asked again, it says the same.
        """

    async def record(self, outcome: Outcome) -> None:
        """Have an outcome written down soon; waits only while too many wait for that."""

    def record_soon(self, outcome: Outcome) -> None:
        """The same without waiting, for the few that come from outside of a run."""

    async def record_durably(self, outcome: Outcome) -> bool:
        """Have it written down, and return once it is; False if there is no row any more that it could be written to.

        Raises RecorderClosedError where it never will be.
        """
