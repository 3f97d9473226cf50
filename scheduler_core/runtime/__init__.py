"""What our processes run on: event loops, the loop and process that a thing belongs to, children, the host's zone.

Nothing here knows a job or a run. What every floor above may use, and what rests on the rules of `domain` only.
"""
