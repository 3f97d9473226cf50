"""Daily tables, monthly summaries and their clean-up, as jobs under a lock."""

import asyncio

from scheduler_core import ScheduleJob, SchedulerService, ScheduleType, TableFamily, TableScheduler

TableScheduler.register(
    TableFamily(
        "game_log",
        columns={
            "player_id": "bigint NOT NULL",
            "score": "integer NOT NULL",
            "at": "timestamptz DEFAULT now()",
        },
        days_ahead=2,
        retention_days=30,
        summary={"rows": "count(*)", "total_score": "sum(score)"},
    )
)


async def main() -> None:
    SchedulerService.init()
    await SchedulerService.start()
    await SchedulerService.add_job(
        ScheduleJob(
            job_id="daily_table_creation",
            name="Daily table creation",
            schedule_type=ScheduleType.DAILY,
            schedule_value="02:00",
            callback=TableScheduler.create_daily_tables,
            use_distributed_lock=True,
            lock_key="scheduler:create_daily_tables",
            lock_ttl=1800,
        )
    )
    # The same methods, called by hand: idempotent, so a job and a person never get into each other's way.
    print("created:", await TableScheduler.create_daily_tables())
    print("summed up:", await TableScheduler.create_monthly_summary_tables())
    print("dropped:", await TableScheduler.cleanup_old_tables())
    await SchedulerService.shutdown()


asyncio.run(main())
