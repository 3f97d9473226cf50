"""The real schedules over virtual days: `scheduler simulate`.

`workload` makes jobs of the same schedule one; `span` cuts the days into hours of local time; `load` counts
fires per hour, `stampedes` finds the seconds at which most jobs start at once, `overlaps` plays known durations,
`clock_changes` says what DST does, `gaps` when nothing fires, `advice` what would help. `simulation` puts them
together; `document`, `report` and `picture_text` (in `shades`) show it. All of it is pure and in memory
that does not grow with the fires.
"""
