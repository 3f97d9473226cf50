"""Alarms that are open (`alarms`), and the outbox of notifications about them (`outbox`)."""
