"""Which occurrences fire, and which are only counted.

`planning` decides for one look at what is due, by `plan` for one job; `segments` and `watermark` bound what is walked;
`next_fires` and `upcoming` look ahead, `gaps` looks back, `explanation` says in sentences why.
"""
