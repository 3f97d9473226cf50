"""The scheduler at work: mechanisms that sequence what `scheduler_core.domain` decides.

`scheduler` is the loop: what is due → plan → claim → start at the instant. `leadership` holds the lease, the
term and the trust window in a keeper thread of its own. `execution` calls callbacks and `retry` calls them
again; `recorder` writes outcomes in batches; `recovery` takes over what the dead left behind; `registry` knows
which callback a job means; `locks` holds a job's distributed lock while it runs; `clock` reads the clocks. The
world is reached through `scheduler_core.ports` only.
"""
