"""Pure values and functions: what a job, a schedule, a run is, and every decision about them.

`schedule` says when, `job` what and under which policies, `planning` which occurrences fire and which are only
counted, `run` what is remembered of them, `trust` how long a leader may believe that it leads. Nothing here
reads a clock, waits, or talks to anybody: instants come in as parameters, decisions go out as values.
"""
