"""What needs nothing of ours: readings of the machine that values and rules rest on.

zone_data   which release of the time zone database counts, and its zones
"""
