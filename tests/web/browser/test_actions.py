"""Every action in Chromium, in both themes: asked for, confirmed, done, told, and written down with who it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from browser_stage import Watcher
from playwright.async_api import Page, expect
from waiting import eventually, eventually_async

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHANGE = "SELECT action || ' by ' || actor FROM scheduler.job_changes WHERE job_id = %s ORDER BY version DESC LIMIT 1"


async def opened(page: Page, name: str) -> None:
    """Open an action's dialog."""
    await page.get_by_role("link", name=name, exact=True).first.click()
    await expect(page.get_by_role("dialog")).to_be_visible()


async def confirmed(page: Page, name: str) -> None:
    """Confirm it, and read that it was done."""
    await page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()
    await expect(page.locator(".note.good")).to_be_visible()


async def test_run_now_cancel_and_run_again(watcher: Watcher) -> None:
    await watcher.sign_in()
    page = await watcher.go("/job?id=long-report")
    await opened(page, "Run now …")
    await watcher.check("action-run-now")
    await confirmed(page, "Run now")
    run_id = page.url.partition("id=")[2].partition("&")[0]
    await expect(page.locator(".head .status")).to_contain_text("running")
    await opened(page, "Cancel …")
    await watcher.check("action-cancel")
    await confirmed(page, "Cancel the run")
    # The page finds out by itself.
    await expect(page.locator(".head .status")).to_contain_text("cancelled")
    assert watcher.stage.one("SELECT cancel_requested_by FROM scheduler.runs WHERE run_id = %s", run_id) == (
        "token operator-of-tests"
    )
    await opened(page, "Run again …")
    await watcher.check("action-retry")
    await confirmed(page, "Run again")
    assert (
        str(
            watcher.stage.one("SELECT rerun_of FROM scheduler.runs WHERE origin = 'rerun' ORDER BY run_id DESC LIMIT 1")
        )
        == run_id
    )
    await opened(page, "Cancel …")
    await confirmed(page, "Cancel the run")
    await watcher.check()


async def test_pause_with_a_note_and_resume(watcher: Watcher) -> None:
    await watcher.sign_in()
    page = await watcher.go("/job?id=close-ledger")
    await opened(page, "Pause …")
    note = "until the books are closed <b>&amp; signed</b>"
    await page.get_by_label("Why").fill(note)
    await page.get_by_label("Until").fill("yesterday")
    await watcher.check("action-pause")
    await page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()
    # A form that can't be accepted comes back with what was typed, and nothing has happened.
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Why")).to_have_value(note)
    assert watcher.stage.one("SELECT paused_at FROM scheduler.jobs WHERE job_id = 'close-ledger'") is None
    assert all("422" in told for told in watcher.complaints), watcher.complaints
    watcher.complaints.clear()
    until = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    await page.get_by_label("Until").fill(until)
    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(page.locator(".note.good")).to_contain_text("paused")
    await expect(page.locator(".explain")).to_contain_text(note)
    assert watcher.stage.one(CHANGE, "close-ledger") == "paused by token operator-of-tests"
    await watcher.go("/calendars")
    row = page.get_by_role("row").filter(has_text="close-ledger")
    await expect(row).to_contain_text(note)
    await row.get_by_role("link", name="Resume …").click()
    await watcher.check("action-resume")
    await confirmed(page, "Resume")
    assert watcher.stage.one(CHANGE, "close-ledger") == "resumed by token operator-of-tests"
    await watcher.check()


async def test_edit(watcher: Watcher) -> None:
    await watcher.sign_in()
    page = await watcher.go("/job?id=rollup")
    await page.get_by_role("link", name="Edit …").click()
    await expect(page.get_by_label("Its value")).to_have_value("60")
    minutes = 5
    await page.get_by_label("Schedule").select_option("cron")
    await page.get_by_label("Its value").fill("every day")
    await watcher.check("action-edit")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("schedule_value")
    assert all("422" in told for told in watcher.complaints), watcher.complaints
    watcher.complaints.clear()
    await page.get_by_label("Its value").fill(f"*/{minutes} * * * *")
    await page.get_by_label("Tags").fill("metrics, edited")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".note.good")).to_contain_text("changed")
    await expect(page.locator(".lead")).to_contain_text(f"every {minutes} minutes")
    assert watcher.stage.one(CHANGE, "rollup") == "changed by token operator-of-tests"
    changes = page.get_by_role("region", name="Changes of this job")
    await expect(changes.get_by_role("row").nth(1)).to_contain_text(f"*/{minutes} * * * *")
    # And back, by the log.
    await changes.get_by_role("link", name="Revert …").last.click()
    await watcher.check("action-revert")
    await confirmed(page, "Revert")
    await expect(page.locator(".lead")).to_contain_text("every minute")
    await watcher.check()


async def test_of_two_editors_the_second_is_told_and_loses_nothing(watcher: Watcher) -> None:
    await watcher.sign_in()
    page = await watcher.go("/job/edit?id=long-report")
    name = "Mine"
    await page.get_by_label("Name", exact=True).fill(name)
    watcher.stage.run("jobs", "pause", "long-report", "--note", "somebody else")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("while you edited it")
    await expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    assert watcher.stage.one("SELECT name FROM scheduler.jobs WHERE job_id = 'long-report'") != name
    assert all("409" in told for told in watcher.complaints), watcher.complaints
    watcher.complaints.clear()
    await watcher.check("action-edit-conflict")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".note.good")).to_be_visible()
    assert watcher.stage.one("SELECT name FROM scheduler.jobs WHERE job_id = 'long-report'") == name
    assert watcher.stage.one("SELECT pause_note FROM scheduler.jobs WHERE job_id = 'long-report'") == "somebody else"
    watcher.stage.run("jobs", "resume", "long-report")


async def test_backfill_with_a_preview(watcher: Watcher) -> None:
    await watcher.sign_in()
    start = datetime.now(UTC).replace(minute=1, second=0, microsecond=0) - timedelta(days=2)
    end = start + timedelta(hours=1)
    page = await watcher.go("/job?id=mirror")
    await page.get_by_role("link", name="Backfill …").click()
    await page.get_by_label("From").fill(start.strftime("%Y-%m-%dT%H:%M"))
    await page.get_by_label("Until").fill(end.strftime("%Y-%m-%dT%H:%M"))
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("heading", name="Preview")).to_be_visible()
    await expect(page.get_by_role("region", name="Preview", exact=True)).to_contain_text("would be made")
    made = "SELECT count(*) FROM scheduler.runs WHERE origin = 'backfill' AND scheduled_for BETWEEN %s AND %s"
    assert watcher.stage.one(made, start, end) == 0
    await watcher.check("action-backfill")
    await page.get_by_role("button", name="Make 12 runs").click()
    await expect(page.locator(".note.good")).to_contain_text("12 runs are made")
    assert watcher.stage.one(made, start, end) == 12
    eventually(lambda: watcher.stage.one(f"{made} AND status = 'succeeded'", start, end) == 12, what="backfilled runs")
    await watcher.check()


async def test_remove(watcher: Watcher) -> None:
    job_id = "short-lived"
    watcher.stage.run("jobs", "add", job_id, "--callback", "apps.dashboard:rollup", "--every", "3600")
    await watcher.sign_in()
    page = await watcher.go(f"/job?id={job_id}")
    await opened(page, "Remove …")
    await watcher.check("action-remove")
    await page.get_by_role("link", name="Leave it").click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await opened(page, "Remove …")
    await confirmed(page, "Remove")
    assert watcher.stage.one(CHANGE, job_id) == "removed by token operator-of-tests"
    await watcher.check()


async def test_resign(watcher: Watcher) -> None:
    await watcher.sign_in()
    page = await watcher.go("/replicas?window=10m")
    before = watcher.stage.one("SELECT term FROM scheduler.leader")
    await opened(page, "Resign …")
    await watcher.check("action-resign")
    await confirmed(page, "Resign")
    await eventually_async(lambda: watcher.stage.one("SELECT term FROM scheduler.leader") > before, what="a new term")
    # The page shows the new term by itself.
    await expect(page.get_by_role("region", name="Terms", exact=True).last).to_contain_text("resigned")
    await expect(page.locator(".pulse")).to_contain_text(f"leads term {before + 1}")
    await watcher.check()


async def test_a_viewer_finds_no_button_and_no_door(watcher: Watcher) -> None:
    """Neither on the pages, nor by the addresses of the forms, nor by sending what a form would send."""
    await watcher.sign_in("viewer")
    page = watcher.page
    for path in ("/", "/job?id=rollup", "/replicas", "/calendars"):
        await watcher.go(path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await page.get_by_role("link", name="…").count() == 0
    before = watcher.stage.one("SELECT count(*) FROM scheduler.job_changes")
    token = await page.locator("input[name=csrf_token]").first.get_attribute("value")
    for path in (
        "/job/trigger",
        "/job/pause",
        "/job/resume",
        "/job/remove",
        "/job/revert",
        "/job/edit",
        "/job/backfill",
    ):
        answer = await page.request.get(f"{watcher.stage.url}{path}?id=rollup")
        assert answer.status == 403, path
        answer = await page.request.post(f"{watcher.stage.url}{path}", form={"id": "rollup", "csrf_token": token or ""})
        assert answer.status == 403, path
    for path in ("/run/cancel", "/run/retry", "/leader/resign"):
        answer = await page.request.post(f"{watcher.stage.url}{path}", form={"id": "x", "csrf_token": token or ""})
        assert answer.status == 403, path
    assert watcher.stage.one("SELECT count(*) FROM scheduler.job_changes") == before
    await watcher.check()


async def test_a_form_of_another_page_does_nothing(watcher: Watcher) -> None:
    """Without the session's token, with another's, or from another site's page."""
    await watcher.sign_in()
    await watcher.go("/")
    before = watcher.stage.one("SELECT count(*) FROM scheduler.runs WHERE origin = 'trigger'")
    request, url = watcher.page.request, f"{watcher.stage.url}/job/trigger"
    token = await watcher.page.locator("input[name=csrf_token]").first.get_attribute("value") or ""
    for form in ({"id": "rollup"}, {"id": "rollup", "csrf_token": "0" * 64}):
        answer = await request.post(url, form=form)
        assert answer.status == 403
    answer = await request.post(url, form={"id": "rollup", "csrf_token": token}, headers={"Origin": "http://evil.test"})
    assert answer.status == 403
    assert watcher.stage.one("SELECT count(*) FROM scheduler.runs WHERE origin = 'trigger'") == before
