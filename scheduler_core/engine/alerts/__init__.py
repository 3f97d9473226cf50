"""Noticing that something is wrong, and telling somebody.

`alarm_watch` looks on every replica, in a thread of its own, so that an alarm opens while nobody leads; `notifier`
takes what waits to be told, one at a time; `webhook_client` sends one signed request and says what came of it.
What an alarm is, and when it opens and ends, is decided in `domain.alarm`.
"""
