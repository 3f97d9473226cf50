"""Tables that come and go by the day and the month.

`catalog` sees what is there, `families` what should be, `statements` writes the SQL of each step, `maintenance` carries
a plan out; `history` is the scheduler's own history as the first family.
"""
