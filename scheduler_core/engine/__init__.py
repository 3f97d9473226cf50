"""The scheduler at work: mechanisms that sequence what `scheduler_core.domain` decides.

`scheduler` is one replica's life, `running_replica` what belongs to one start of it. `election` says who leads and
holds the lease, the term and the trust window in a thread of its own; `leader_loop` leads meanwhile; `fire` takes each
run from its instant to its outcome, `executing` those that every replica may take. `declarations` keeps what code
declares, `operations` has the verbs, `callbacks` knows which function a job means, `remote` what executes elsewhere,
`alerts` notices and tells. The world is reached through `scheduler_core.ports` only.
"""
