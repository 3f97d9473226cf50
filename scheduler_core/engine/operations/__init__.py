"""The verbs: what code and operators do. Any process may, leader or not; each is a statement or a few.

`jobs` declares, changes, pauses, resumes, removes and triggers; `runs` runs again, cancels and makes up for a range;
`calendars` and `tables` are the verbs of theirs.
"""
