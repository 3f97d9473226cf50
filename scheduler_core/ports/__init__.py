"""What the engine asks of the world, as protocols. `storage` answers; tests may answer otherwise.

One file a question: `election` (control session, lease, locks), `clock`, `jobs`, `runs`, `executor`, `tables`,
`alerts`; `storage` is all that a replica is given, as one value. Values that pass through a port stand beside it.
"""
