"""Calendars, which exclude days and hours: what they are, what their fields may be, those of countries."""
