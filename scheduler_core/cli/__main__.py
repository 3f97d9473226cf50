"""`python -m scheduler_core.cli`: the same as `scheduler`, for an interpreter that is not on the PATH."""

from scheduler_core.cli import main

main()
