from fastapi import FastAPI

from scheduler_core import RunContext, job
from scheduler_core.web import create_app, scheduler_lifespan

orders: list[str] = []


@job("collect_orders", every=1)
async def collect_orders(ctx: RunContext) -> None:
    orders.append(ctx.idempotency_key)


@job("daily_report", daily="07:30", timezone="Europe/Berlin", max_retries=5, timeout=600)
def daily_report() -> None:
    print("a plain function runs in a thread, so it may take its time")


app = FastAPI(lifespan=scheduler_lifespan)
app.mount("/scheduler", create_app())


@app.get("/orders")
async def count_orders() -> dict[str, int]:
    return {"collected_here": len(orders)}
