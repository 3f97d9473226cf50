"""The only package that knows SQLAlchemy, asyncpg, Redis and Alembic.

`database` is the door to Postgres, `schema` its tables, `migrate` brings them to head. `jobs` and `runs` hold
the statements of the hot path: `due`, `claim`, `record`, `settle`. `terms` is the control session with its two
witnesses and the leader's row; `leases` the Lua of the Redis lease and of distributed locks. `tables` creates
and drops daily tables; `embedded` starts real servers from wheels. Nothing here decides: decisions live in
`scheduler_core.domain`, their order in `scheduler_core.engine`.
"""
