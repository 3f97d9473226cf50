"""The only package that knows SQLAlchemy, asyncpg, Redis and Alembic. Installed, it is `scheduler_core.storage`.

`postgres` and `redis` are the doors; `fire` has the statements of the hot path, `jobs` what is declared, `reads` what
is asked, `alerts` what is told, `access` who may ask, `tables` what comes and goes; `embedded` starts real servers from
wheels. Nothing here decides: decisions live in `scheduler_core.domain`, their order in `scheduler_core.engine`.
"""
