"""Alarms: what one is (`alarm`), which open and close (`decision`), how they are told (`words`, `webhook`)."""
