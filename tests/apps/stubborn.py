"""A callback that, by LEAVES, leaves something behind that does not end, or does not end itself."""

import asyncio
import os
import threading
import time

from replicas import witness

from scheduler_core import job


def leaves_a_thread() -> None:
    threading.Thread(target=time.sleep, args=[3600]).start()
    witness("called")


def blocks() -> None:
    witness("called")
    time.sleep(3600)


async def takes_no_cancel() -> None:
    witness("called")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


job("stubborn", once=None)(globals()[os.environ["LEAVES"]])
