"""Every screen in Chromium, in both themes, on a desk and in a hand: it shows what there is, and nothing complains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal
from urllib.parse import quote

import pytest
from apps.dashboard import EVIL, EVIL_ID
from browser_stage import THEMES, Stage, Watcher
from playwright.async_api import Browser, Page, Route, expect
from waiting import eventually_async

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def until(page: Page, expression: str) -> None:
    """Wait until an expression is true. Asked from outside each time: what waits inside of a page is evaluated there,
    which the page's policy forbids.
    """
    await eventually_async(lambda: page.evaluate(f"Boolean({expression})"), what=expression)


Look = Callable[[Page, Stage], Awaitable[None]]


async def overview(page: Page, stage: Stage) -> None:
    await expect(page.get_by_text("nothing overdue")).to_be_visible()
    await expect(page.get_by_text("Fires per second").first).to_be_visible()
    await expect(page.locator(".pulse")).to_contain_text("leads term")
    # Both charts are drawn, from what was counted.
    await until(
        page,
        "[...document.querySelectorAll('time-chart')].filter(c => c.shadowRoot?.querySelector('canvas')).length === 2",
    )
    await expect(page.get_by_role("region", name="Latest failed attempts", exact=True)).to_contain_text(
        "ConnectionError"
    )
    await expect(page.get_by_role("region", name="Last takeovers", exact=True)).to_contain_text("died")
    alarms = page.get_by_role("region", name="Open alarms", exact=True)
    await expect(alarms.get_by_role("row").filter(has_text="orders-import")).to_contain_text("failure")


async def jobs(page: Page, stage: Stage) -> None:
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="heartbeat", exact=True))
    await expect(row).to_contain_text("every second")
    await expect(row.get_by_role("img")).to_have_attribute("aria-label", "last 20 runs: 20 succeeded")
    paused = page.get_by_role("row").filter(has_text="invoices")
    await expect(paused).to_contain_text("paused")
    await expect(paused).to_contain_text("ticket 4711")
    await expect(page.get_by_text(EVIL)).to_be_visible()


async def job(page: Page, stage: Stage) -> None:
    await expect(page.get_by_role("heading", level=1)).to_contain_text("orders-import")
    await expect(page.get_by_role("heading", name="Explain")).to_be_visible()
    await expect(page.locator(".explain")).to_contain_text("It fires next at")
    await expect(page.locator(".next li")).to_have_count(10)
    await expect(page.get_by_role("region", name="Runs", exact=True)).to_contain_text("failed")
    attempt = page.locator("details.attempt").first
    await attempt.locator("summary").click()
    await expect(attempt.locator("pre")).to_contain_text("import_orders")
    await expect(page.get_by_role("region", name="Changes of this job", exact=True)).to_contain_text("added")
    await until(page, "document.querySelector('time-chart').shadowRoot?.querySelector('canvas')")


async def runs(page: Page, stage: Stage) -> None:
    table = page.get_by_role("region", name="Runs", exact=True)
    await expect(table.get_by_role("row")).to_have_count(51)
    await expect(table).to_contain_text("succeeded")
    await expect(page.get_by_role("link", name="Next page")).to_be_visible()


async def run(page: Page, stage: Stage) -> None:
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Run")
    await expect(page.locator(".lead")).to_contain_text("failed after 2 attempts")
    await expect(page.locator("pre.traceback")).to_have_count(2)
    await expect(page.locator("pre.traceback").first).to_contain_text("raise ConnectionError(")
    await expect(page.locator("pre.traceback").first).to_contain_text(EVIL)


async def replicas(page: Page, stage: Stage) -> None:
    table = page.get_by_role("region", name="Replicas", exact=True)
    await expect(table.get_by_text("leads", exact=True)).to_have_count(1)
    await expect(table.get_by_text("follows", exact=True)).to_have_count(1)
    await expect(page.locator(".timeline rect.term")).to_have_count(4)
    await expect(page.get_by_role("region", name="Terms", exact=True)).to_contain_text("resigned")


async def calendars(page: Page, stage: Stage) -> None:
    await expect(page.get_by_role("heading", name="german-holidays")).to_be_visible()
    await expect(page.get_by_text("Nobody is in")).to_be_visible()
    held = page.get_by_role("region", name="Paused jobs", exact=True)
    await expect(held).to_contain_text("The printer is out of paper, ticket 4711")


async def audit(page: Page, stage: Stage) -> None:
    changes = page.get_by_role("region", name="Changes", exact=True)
    await expect(changes).to_contain_text("paused")
    await expect(changes).to_contain_text("pause_note")


async def gaps(page: Page, stage: Stage) -> None:
    await expect(page.locator("main")).to_contain_text("occurrences owed")


async def duplicates(page: Page, stage: Stage) -> None:
    await expect(page.get_by_text("No occurrence has two rows")).to_be_visible()


async def calendar_changes(page: Page, stage: Stage) -> None:
    await expect(page.get_by_role("region", name="Changes of calendars", exact=True)).to_contain_text("weekends")


SCREENS: dict[str, tuple[str, Look]] = {
    "overview": ("/", overview),
    "jobs": ("/jobs", jobs),
    "job": ("/job?id=orders-import", job),
    "runs": ("/runs?job=heartbeat", runs),
    "run": ("", run),
    "replicas": ("/replicas?window=1h", replicas),
    "calendars": ("/calendars", calendars),
    "audit": ("/audit", audit),
    "audit-gaps": ("/audit?question=gaps&job=close-ledger", gaps),
    "audit-duplicates": ("/audit?question=duplicates", duplicates),
    "audit-calendars": ("/audit?question=calendars", calendar_changes),
}


SHOWN_IN_A_HAND = ("overview", "jobs", "job", "runs")
"""One column looks much like another."""


def path_of(name: str, stage: Stage) -> str:
    if name == "run":
        found = stage.one(
            "SELECT run_id FROM scheduler.runs WHERE job_id = 'orders-import' AND status = 'failed' "
            "ORDER BY scheduled_for LIMIT 1"
        )
        return f"/run?id={found}"
    return SCREENS[name][0]


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen(watcher: Watcher, name: str) -> None:
    watcher.stage.wait_for_failures()
    await watcher.sign_in()
    page = await watcher.go(path_of(name, watcher.stage))
    await SCREENS[name][1](page, watcher.stage)
    await watcher.check(name)


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_in_a_hand(phone: Watcher, name: str) -> None:
    phone.stage.wait_for_failures()
    await phone.sign_in("viewer")
    await phone.go(path_of(name, phone.stage))
    await expect(phone.page.get_by_role("heading", level=1)).to_be_visible()
    await phone.check(f"phone-{name}" if name in SHOWN_IN_A_HAND else None)


async def test_signing_in_and_out(watcher: Watcher) -> None:
    """A closed door leads to the form, and the form to where one wanted to go."""
    page = await watcher.go("/job?id=heartbeat")
    await expect(page).to_have_title("Sign in · scheduler")
    await watcher.check("sign-in")
    await page.get_by_label("Token").fill("sched_wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("no such token")
    # The one complaint is Chromium's own word for the answer 401.
    assert all("401" in told for told in watcher.complaints), watcher.complaints
    watcher.complaints.clear()
    await page.get_by_label("Token").fill(watcher.stage.tokens["viewer"])
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_title("heartbeat · scheduler")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_title("Sign in · scheduler")
    await watcher.go("/jobs")
    await expect(page).to_have_title("Sign in · scheduler")
    await watcher.check()


async def test_names_that_would_be_scripts_are_text(watcher: Watcher) -> None:
    """An id with every sign that means something in an address or in HTML has a page like any other."""
    await watcher.sign_in()
    for path in ("/job?id=", "/job/edit?id=", "/job/pause?id=", "/job/backfill?id=", "/runs?job=", "/audit?job="):
        page = await watcher.go(path + quote(EVIL_ID, safe=""))
        await expect(page.locator("main")).to_be_visible()
        assert await page.locator("main svg[onload], main img").count() == 0
        await watcher.check()
    await watcher.go("/jobs")
    await page.get_by_role("link", name=EVIL_ID, exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(EVIL_ID)
    await expect(page.get_by_role("heading", level=1)).to_contain_text(EVIL)
    await watcher.check()


async def test_a_page_keeps_itself_fresh(watcher: Watcher) -> None:
    """What is opened and what has the focus survives the news."""
    await watcher.sign_in()
    page = await watcher.go("/job?id=heartbeat")
    count = page.locator(".figures dd").nth(4)
    await page.locator("#definition summary").click()
    await page.get_by_role("link", name="changes", exact=True).focus()
    before = int((await count.inner_text()).replace(",", ""))
    await expect(count).not_to_have_text(f"{before:,}")
    await expect(page.locator("#definition")).to_have_attribute("open", "")
    assert await page.evaluate("document.activeElement.textContent") == "changes"
    await watcher.check()


async def test_a_script_that_comes_late_leaves_no_page_without_news(watcher: Watcher) -> None:
    async def hold_back(route: Route) -> None:
        await until(page, "window.htmx")
        await page.evaluate("new Promise(done => setTimeout(done, 50))")
        await route.continue_()

    await watcher.sign_in()
    page = watcher.page
    await page.route("**/hx-sse*", hold_back)
    async with page.expect_request("**/stream?*"):
        await watcher.go("/job?id=heartbeat")
    await watcher.check()


async def test_keys(watcher: Watcher) -> None:
    await watcher.sign_in()
    page = await watcher.go("/")
    await page.keyboard.press("g")
    await page.keyboard.press("j")
    await expect(page).to_have_title("Jobs · scheduler")
    await page.keyboard.press("/")
    await page.keyboard.type("heartb")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/jobs?q=heartb*")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page).to_have_title("heartbeat · scheduler")
    await page.keyboard.press("?")
    await expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    await watcher.check("keys")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("heading", name="Keys")).to_be_hidden()


@pytest.mark.parametrize("theme", THEMES)
async def test_the_switch_of_the_theme_is_remembered(watcher: Watcher, theme: Literal["light", "dark"]) -> None:
    await watcher.sign_in()
    page = await watcher.go("/")
    await page.emulate_media(color_scheme=theme)
    wanted = "dark" if theme == "light" else "light"
    button = page.get_by_role("button", name="Theme")
    for _ in range(1 if wanted == "light" else 2):
        await button.click()
    ground = "getComputedStyle(document.body).backgroundColor"
    assert await page.evaluate("document.documentElement.dataset.theme") == wanted
    chosen = await page.evaluate(ground)
    await watcher.go("/jobs")
    assert await page.evaluate(ground) == chosen
    await watcher.check()


async def test_pages_work_without_scripts(stage: Stage, browser: Browser) -> None:
    """Every screen and an action: the scripts add comfort, nothing else."""
    stage.wait_for_failures()
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{stage.url}/sign-in")
    await page.get_by_label("Token").fill(stage.tokens["operator"])
    await page.get_by_role("button", name="Sign in").click()
    for name in SCREENS:
        answer = await page.goto(f"{stage.url}{path_of(name, stage)}")
        assert answer is not None
        assert answer.status == 200
    await page.goto(f"{stage.url}/job?id=rollup")
    await page.get_by_role("link", name="Run now …").click()
    await page.get_by_role("button", name="Run now").click()
    await expect(page.get_by_role("status").first).to_contain_text("due now")
    await context.close()
