"""The real election in virtual time: one seed, one history.

Real are the elector and all its parts, the policy in `domain`, the control session and the lease's client. Simulated
are the event loops, clocks, dice and threads (`timeline`, `machine`), the network (`network`) and the two servers, as
far as an election uses them (`postgres_server`, `redis_server`): `test_servers.py` holds these against the real ones.

The whole fire path, with its SQL on a real Postgres, is in `fire`.

`world` lets two or three faults at a time loose (`faults`), heals them, and asks the invariants all the while
(`checks`). `mutants` takes guards out of the product, one at a time: each has to be found.
"""
