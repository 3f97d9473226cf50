"""A module that fails to import."""

raise RuntimeError("apps.broken is broken on purpose")
