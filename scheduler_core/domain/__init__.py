"""Pure values and functions: what a job, a schedule, a run is, and every decision about them.

`schedule` says when, `jobs` what and under which policies, `calendars` on which days not, `planning` which occurrences
fire and which are only counted, `runs` what is remembered of them, `election` how long a leader may believe that it
leads; `tables`, `alerts` and `access` decide for what stands beside. Nothing here reads a clock, waits, or talks to
anybody: instants come in as parameters, decisions go out as values.
"""
