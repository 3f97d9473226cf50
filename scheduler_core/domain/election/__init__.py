"""Deciding who leads, and for how long that may be believed.

`trust` has the timings and judges what an answer means, `suspicion` how long a silence may last, `health` what a probe
is told.
"""
