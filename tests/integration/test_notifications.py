"""The outbox and its webhook: signed, in order, tried again, never twice at once, never in a fire's way."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from receiver import SECRET, Receiver, free_port, receiving
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.domain.alerts.alarm import Event, Notification
from scheduler_core.domain.alerts.webhook import Verdict, parse_secrets
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.engine.alerts.notifier import Notifier
from scheduler_core.engine.alerts.webhook_client import Webhook
from scheduler_core.ports.alerts import Message
from scheduler_core.storage.alerts import outbox as notifications_module
from scheduler_core.storage.alerts.outbox import Outbox
from scheduler_core.storage.postgres.database import Database

Sql = psycopg.Connection[Any]

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"


class Log:
    """Keeps what is logged, at every level."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, text: str, *arguments: Any, **_: Any) -> None:
        self.lines.append(text % arguments)

    info = warning = error = debug


@pytest.fixture
async def outbox(container: Container) -> Outbox:
    await container.prepare()
    return Outbox(container.get_database(), "me")


async def queue(outbox: Outbox, *texts: str) -> None:
    for text in texts:
        await outbox.queue(Notification(Event.TEST, text, await outbox.database.now()))


def notifier(outbox: Outbox, receiver: Receiver, log: Log | None = None, timeout_seconds: float = 5.0) -> Notifier:
    webhook = Webhook(receiver.url, parse_secrets(SECRET), timeout_seconds=timeout_seconds)
    return Notifier(outbox, webhook, log or Log())


def texts(receiver: Receiver) -> list[str]:
    return [request.document["text"] for request in receiver.requests]


async def row(outbox: Outbox, number: int = 0) -> dict[str, Any]:
    return (await outbox.listed())[number]


async def due_now(sql: Sql) -> None:
    sql.execute("UPDATE scheduler.notifications SET next_attempt_at = clock_timestamp()")


# What the receiver gets.


async def test_the_receiver_of_the_docs_verifies_what_comes(outbox: Outbox) -> None:
    spec = importlib.util.spec_from_file_location("webhook_receiver", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    await queue(outbox, "Grüße, \u2028 <b>&")
    with receiving() as receiver:
        await notifier(outbox, receiver).deliver()
        (request,) = receiver.requests
    example.verify(request.headers, request.body, SECRET)
    assert request.document["text"] == "Grüße, \u2028 <b>&"
    assert request.headers["content-type"] == "application/json"
    for headers, body, secret in (
        (request.headers, request.body + b" ", SECRET),
        (request.headers | {"webhook-id": "other"}, request.body, SECRET),
        (request.headers | {"webhook-timestamp": str(int(time.time()) - 301)}, request.body, SECRET),
        (request.headers | {"webhook-signature": "v1,AAAA"}, request.body, SECRET),
        (request.headers, request.body, "whsec_" + "QUFB" * 10),
    ):
        with pytest.raises(ValueError, match=r"not signed|too old"):
            example.verify(headers, body, secret)


def test_the_docs_show_the_example() -> None:
    page = (EXAMPLE.parents[1] / "docs" / "alarms.md").read_text()
    source = EXAMPLE.read_text()
    shown = source[source.index("def verify(") : source.index("class Receiver")].strip()
    assert shown in page


async def test_every_attempt_of_a_message_has_its_id_and_a_time_of_its_own(outbox: Outbox, sql: Sql) -> None:
    await queue(outbox, "a")
    with receiving(status=lambda number: 503 if number < 2 else 204) as receiver:
        sender = notifier(outbox, receiver)
        for _ in range(3):
            await sender.deliver()
            await due_now(sql)
        assert len({request.message_id for request in receiver.requests}) == 1
        assert len({request.body for request in receiver.requests}) == 1
        assert len(receiver.requests) == 3
    found = await row(outbox)
    assert (found["attempts"], found["state"]) == (3, "delivered")


# Receivers that don't take it.


async def test_order_is_kept_while_the_receiver_is_down(outbox: Outbox, sql: Sql) -> None:
    """A recovery must not overtake its failure."""
    await queue(outbox, "failure", "recovery", "takeover")
    with receiving(status=503) as receiver:
        sender = notifier(outbox, receiver)
        assert await sender.deliver() == 1
        assert texts(receiver) == ["failure"], "the others wait behind it"
        assert await sender.deliver() is None, "and it is not due yet"
        receiver.status = 204
        await due_now(sql)
        await sender.deliver()
        assert texts(receiver) == ["failure", "failure", "recovery", "takeover"]


async def test_what_is_refused_keeps_nothing_waiting(outbox: Outbox, sql: Sql) -> None:
    await queue(outbox, "poison", "wholesome", "too")
    with receiving(status=lambda number: 400 if number == 0 else 204) as receiver:
        await notifier(outbox, receiver).deliver()
        assert texts(receiver) == ["poison", "wholesome", "too"]
        assert (await row(outbox, 2))["state"] == "refused"
        await due_now(sql)
        await notifier(outbox, receiver).deliver()
        assert texts(receiver)[3:] == ["poison"], "it is tried again by itself"


async def test_a_redirect_is_no_delivery_and_is_not_followed(outbox: Outbox) -> None:
    await queue(outbox, "a")
    with receiving(status=302) as receiver:
        await notifier(outbox, receiver).deliver()
        assert len(receiver.requests) == 1
    found = await row(outbox)
    assert found["state"] == "waiting"
    assert "redirects are not followed" in found["last_error"]


@pytest.mark.parametrize("behaviour", [{"slow_seconds": 20.0}, {"drips": True}], ids=["slow", "a byte at a time"])
async def test_an_attempt_ends_in_time_whatever_the_receiver_does(outbox: Outbox, behaviour: dict[str, Any]) -> None:
    await queue(outbox, "a")
    with receiving(**behaviour) as receiver:
        async with asyncio.timeout(15):
            assert await notifier(outbox, receiver, timeout_seconds=0.3).deliver() == 1
    assert "did not answer within 0.3 s" in (await row(outbox))["last_error"]


async def test_a_receiver_that_is_not_there_is_named_without_its_secrets(outbox: Outbox) -> None:
    await queue(outbox, "a")
    log, nobody = Log(), Receiver(url=f"http://user:hidden@127.0.0.1:{free_port()}/hidden?token=hidden")
    await notifier(outbox, nobody, log).deliver()
    error = (await row(outbox))["last_error"]
    assert "127.0.0.1" in error
    assert "can't be reached" in error
    assert "hidden" not in error + "".join(log.lines)


async def test_a_name_that_nobody_has_is_an_error_and_no_exception(outbox: Outbox) -> None:
    await queue(outbox, "a")
    await notifier(outbox, Receiver(url="http://no-such-host.invalid/")).deliver()
    assert "can't be reached" in (await row(outbox))["last_error"]


async def test_after_a_day_it_is_given_up_and_what_follows_goes_on(outbox: Outbox, sql: Sql) -> None:
    await queue(outbox, "old")
    sql.execute("UPDATE scheduler.notifications SET created_at = created_at - interval '25 hours'")
    await queue(outbox, "new")
    with receiving(status=lambda number: 503 if number == 0 else 204) as receiver:
        log = Log()
        await notifier(outbox, receiver, log).deliver()
        assert texts(receiver) == ["old", "new"], "one last attempt"
        assert any("given up after 1 attempts" in line for line in log.lines)
    assert [r["state"] for r in await outbox.listed()] == ["delivered", "given up"]


async def test_what_nobody_tries_is_given_up_too_and_forgotten_in_the_end(outbox: Outbox, sql: Sql) -> None:
    await queue(outbox, "a", "b")
    sql.execute(
        "UPDATE scheduler.notifications SET created_at = created_at - interval '25 hours' WHERE notification_id = 1"
    )
    assert await outbox.tidy() == 1
    sql.execute("UPDATE scheduler.notifications SET created_at = created_at - interval '8 days'")
    await outbox.tidy()
    assert [r["text"] for r in await outbox.listed()] == ["b"], "what was just given up is kept; it is forgotten next"


# Any replica delivers, one at a time.


async def test_replicas_that_deliver_at_once_send_each_message_once_and_one_at_a_time(
    database_url: str, outbox: Outbox
) -> None:
    await queue(outbox, *(f"{n:02}" for n in range(30)))
    databases = [Database(database_url, pool_size=1) for _ in range(6)]
    with receiving(slow_seconds=0.02) as receiver:
        senders = [notifier(Outbox(database, f"r{n}"), receiver) for n, database in enumerate(databases)]

        async def deliver(sender: Notifier) -> None:
            while len(receiver.requests) < 30:
                await sender.deliver()
                await asyncio.sleep(0.005)

        async with asyncio.timeout(60):
            await asyncio.gather(*(deliver(sender) for sender in senders))
        assert texts(receiver) == [f"{n:02}" for n in range(30)]
        assert all(a.ended_at <= b.began_at for a, b in zip(receiver.requests, receiver.requests[1:], strict=False))
    assert len({r["claimed_by"] for r in await outbox.listed()}) > 1, "several of them had a turn"
    await asyncio.gather(*(database.close() for database in databases))


SKIP = "    FOR UPDATE SKIP LOCKED\n"


async def test_without_the_lock_some_would_be_sent_twice(
    database_url: str, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the test above can be taken away: two claims at once then win the same message."""
    assert SKIP in notifications_module.CLAIM
    monkeypatch.setattr(notifications_module, "CLAIM", notifications_module.CLAIM.replace(SKIP, ""))
    databases = [Database(database_url, pool_size=1) for _ in range(6)]
    claimed: Counter[int] = Counter()

    async def claim(database: Database, number: int) -> None:
        message = await Outbox(database, f"r{number}").claim(lease_seconds=60)
        if message is not None:
            claimed[message.notification_id] += 1

    for _ in range(50):
        await queue(outbox, "x")
        await asyncio.gather(*(claim(database, n) for n, database in enumerate(databases)))
        if max(claimed.values()) > 1:
            break
        for found in await outbox.listed(limit=1):
            last = Message(found["notification_id"], found["message_id"], "test", {}, 1, timedelta(0))
            await Outbox(outbox.database, found["claimed_by"]).settle(last, Verdict(delivered=True), None)
    await asyncio.gather(*(database.close() for database in databases))
    assert max(claimed.values()) > 1


async def test_who_was_given_up_for_dead_does_not_undo_what_another_did(outbox: Outbox, sql: Sql) -> None:
    await queue(outbox, "a")
    frozen = await outbox.claim(lease_seconds=0)
    other = Outbox(outbox.database, "other")
    again = await other.claim(lease_seconds=60)
    assert frozen is not None
    assert again is not None
    assert not await outbox.settle(frozen, Verdict(given_up=True), "late"), "it is not its message any more"
    assert await other.settle(again, Verdict(delivered=True), None)
    assert not await outbox.settle(frozen, Verdict(retry_seconds=1), "late")
    assert (await row(outbox))["state"] == "delivered"


async def test_a_message_whose_replica_died_is_another_s_after_the_lease(outbox: Outbox, sql: Sql) -> None:
    await queue(outbox, "a")
    assert await outbox.claim(lease_seconds=300) is not None
    with receiving() as receiver:
        other = notifier(Outbox(outbox.database, "other"), receiver)
        assert await other.deliver() is None
        assert receiver.requests == []
        await due_now(sql)
        await other.deliver()
        assert texts(receiver) == ["a"]


async def test_a_claim_that_came_too_late_sends_nothing(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process stood still between claiming and sending: somebody else may be at it."""
    await queue(outbox, "a")
    with receiving() as receiver:
        sender = notifier(outbox, receiver)
        instants = iter([0.0, 100.0])
        monkeypatch.setattr("scheduler_core.engine.alerts.notifier.boottime", lambda: next(instants))
        await sender.deliver()
        assert receiver.requests == []


async def test_a_stop_in_the_middle_leaves_the_message_to_others_at_once(outbox: Outbox) -> None:
    await queue(outbox, "a")
    with receiving(slow_seconds=20) as receiver:
        sending = asyncio.create_task(notifier(outbox, receiver, timeout_seconds=30).deliver())

        async def is_claimed() -> bool:
            return bool((await row(outbox))["claimed_by"])

        await eventually_async(is_claimed)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert await Outbox(outbox.database, "other").claim(lease_seconds=1) is not None


async def test_a_delivery_is_written_down_though_postgres_is_away_for_a_moment(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue(outbox, "a")
    fails = iter([True, True, False])
    settle = Outbox.settle

    async def unreachable(self: Outbox, *arguments: Any) -> bool:
        if next(fails):
            raise ServerUnreachableError("away")
        return await settle(self, *arguments)

    monkeypatch.setattr(Outbox, "settle", unreachable)
    with receiving() as receiver:
        await notifier(outbox, receiver).deliver()
    assert (await row(outbox))["state"] == "delivered"


# Never in a fire's way.


async def test_a_receiver_that_hangs_keeps_no_fire_waiting(database_url: str, redis_url: str, sql: Sql) -> None:
    with receiving(slow_seconds=60) as receiver:
        container = Container(
            load_settings(
                database_url=database_url,
                redis_url=redis_url,
                webhook_url=receiver.url,
                webhook_secret=SECRET,
                webhook_timeout=50,
                alarm_interval=0.2,
                lease_ttl=1,
            )
        )
        try:
            scheduler = await container.start()

            def fail() -> None:
                raise ConnectionError("no")

            async def tick() -> None: ...

            await scheduler.add_job(ScheduleJob("fails", "F", "interval", 0.1, fail, max_retries=0))
            await scheduler.add_job(ScheduleJob("ticks", "T", "interval", 0.05, tick))
            await eventually_async(
                lambda: sql.execute("SELECT 1 FROM scheduler.notifications WHERE attempts > 0").fetchone()
            )
            before = sql.execute("SELECT run_count FROM scheduler.jobs WHERE job_id = 'ticks'").fetchone()
            assert before is not None
            await eventually_async(
                lambda: sql.execute(
                    "SELECT 1 FROM scheduler.jobs WHERE job_id = 'ticks' AND run_count > %s", [before[0] + 40]
                ).fetchone()
            )
            assert sql.execute(
                "SELECT count(*) FROM scheduler.notifications WHERE delivered_at IS NOT NULL"
            ).fetchone() == (0,)
        finally:
            async with asyncio.timeout(20):
                await container.close()
