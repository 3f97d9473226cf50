"""Families of tables, and the jobs that look after them."""

from scheduler_core import TableFamily, TableScheduler, job

TableScheduler.register(
    TableFamily("visits", columns={"page": "text NOT NULL"}, days_ahead=3, retention_days=7, summary={"n": "count(*)"})
)
TableScheduler.register(
    TableFamily(
        "orders",
        columns={"amount": "numeric(10,2)", "placed": "timestamptz NOT NULL"},
        partitioned=True,
        time_column="placed",
        retention_days=7,
    )
)
job("tables ahead", cron="* * * * * *", use_distributed_lock=True)(TableScheduler.create_daily_tables)
