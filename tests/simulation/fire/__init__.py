"""The whole fire path in virtual time: one seed, one history, and the real SQL on a real Postgres.

Real are the replica (`engine.scheduler`: election, claiming, executing, recording, recovery, cancelling), the verbs of
operators, the stores with every statement, and Postgres itself, which is stepped statement by statement
(`stepped_postgres`). Simulated are loops, clocks, dice, threads and the network, as for the election, the pool of
sessions (`sessions`) and Redis.

`world` lets two or three faults at a time loose, heals them, lets what is due end, and asks the record (`record`).
`mutants` takes guards out of the SQL and of the Python, one at a time: each has to be found.
"""
