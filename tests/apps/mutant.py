"""The ticking app in a replica whose code has one line switched off, by MUTANT: a test must notice."""

import os

import apps.ticking  # noqa: F401 - declares the jobs
from scheduler_core.engine.leadership import Keeper

if os.environ["MUTANT"] == "no trust window":
    Keeper.trusts = lambda self, term: True  # type: ignore[method-assign]
