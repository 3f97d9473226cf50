"""Redis: where it is (`url`), what its errors mean (`answers`), the leader's lease (`leases`), `locks` for jobs."""
