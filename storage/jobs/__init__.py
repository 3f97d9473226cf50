"""Jobs as they are stored: `definitions` (reading, changing), `declarations` (what code declares, in batches),
`changes` (the log of who changed what), `calendars`.
"""
