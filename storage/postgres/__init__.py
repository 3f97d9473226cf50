"""The door to Postgres, and what is true of all its tables.

`url` says where it is and opens sessions (`first_host`, of several hosts), `database` is the pool that statements go
through, `errors` and `sqlstates` say what went wrong and what that means. `schema` has the tables; `migrate`,
`upgrading` and `revisions` bring them to head, `rights` says what a role needs, `partitions` what a day of history is.
`clock` reads the database's clock; `open_transactions` and `lock_holders` name whoever stands in the way.
"""
