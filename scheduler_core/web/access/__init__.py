"""Who calls, and what they may.

`gate` lets nobody through who does not say who they are; `callers` makes a `Caller` of a token or a session and holds
the dependency `require(Scope…)`; `browser` keeps sessions in a cookie and checks that a form came from a page of ours;
`limits` bounds how large and how slow a request may be.
"""

from scheduler_core.web.access.callers import Caller, require

__all__ = ["Caller", "require"]
