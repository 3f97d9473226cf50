"""The scheduler at work: mechanisms that sequence what `scheduler_core.domain` decides.

`scheduler` is one replica's life, `running_replica` what belongs to one start of it. `election` says who leads and
holds the lease, the term and the trust window in a thread of its own; `leader_loop` leads meanwhile; `fire` takes each
run from its instant to its outcome. `declarations` keeps what code declares, `operations` and its kin are the verbs,
`callback_registry` knows which callback a job means, `worker` makes attempts that another process gives out. The world
is reached through `scheduler_core.ports` only.
"""
