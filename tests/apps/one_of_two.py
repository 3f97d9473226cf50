"""Two services that share a scheduler: each, by SERVICE, declares and can call a job of its own."""

import os

from scheduler_core import job

if os.environ["SERVICE"] == "billing":

    @job("invoice", every=0.5)
    def send_invoices() -> None:
        """Known to billing alone."""

else:

    @job("backup", every=0.5)
    def back_up() -> None:
        """Known to storage alone."""
