"""What needs nothing of ours.

zone_data   which release of the time zone database counts, and its zones
svg_page    the page that our pictures are drawn on
"""
