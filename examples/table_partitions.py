"""A partitioned table: days ahead as partitions, the SQL shown before it runs, monthly sums, retention."""

import asyncio

from scheduler_core import SchedulerService, Summary, TableFamily, TableScheduler, job

TableScheduler.register(
    TableFamily(
        "measurements",
        columns={
            "sensor": "text NOT NULL",
            "value": "double precision",
            "taken_at": "timestamptz NOT NULL DEFAULT now()",
        },
        partitioned=True,
        time_column="taken_at",
        days_ahead=3,
        retention_days=14,
        summary=Summary({"readings": "count(*)", "mean": "avg(value)"}, by=("sensor",)),
        summary_retention_months=24,
    )
)

# Often enough that a failed night is made up for long before the days ahead run out.
job("tables ahead", cron="15 */6 * * *")(TableScheduler.create_daily_tables)
job("tables summed up", daily="00:30")(TableScheduler.create_monthly_summary_tables)
job("tables cleaned up", daily="03:30")(TableScheduler.cleanup_old_tables)


async def main() -> None:
    SchedulerService.init()
    await SchedulerService.start()
    script, problems = await TableScheduler.rehearse()
    print(script or "-- nothing to do", *problems, sep="\n")
    print("created:", await TableScheduler.create_daily_tables())
    print("again:", await TableScheduler.create_daily_tables())
    await SchedulerService.shutdown()


asyncio.run(main())
