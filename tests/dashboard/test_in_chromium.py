"""The dashboard as people see it, in a real browser; pictures are left in $ERRATA_SCREENSHOTS."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

import dashboard
from errata.settings import Alerts, Channel
from storage.database import open_database
from streams.alerts import AlertSender
from tests.dashboard.seeded import FORMULA, KOREAN, MODEL, VOCS, XSS, Seeded
from tests.servers import free_port

ROOM = Path(dashboard.__file__).parent
#: A busy machine takes its time.
expect.set_options(timeout=30_000)

#: What is sent there goes nowhere; no worker runs.
CHANNEL = '[alerts.channels.team-chat]\nurl = "json://127.0.0.1"\nquiet_hours = "22:00-07:00"\n'

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def address(seeded: Seeded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard of the seeded database."""
    directory = tmp_path_factory.mktemp("dashboard")
    settings = directory / "errata.toml"
    settings.write_text(
        f'[database]\nurl = "{seeded.url}"\n[models.card-reader]\n[models.translator]\n{CHANNEL}'
    )
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")}
    command = [sys.executable, "-m", "streamlit", "run", str(ROOM / "app.py"), "--server.port", str(port)]
    log = directory / "streamlit.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--", "--settings", str(settings)],
            cwd=ROOM.parent,
            env=environ,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the dashboard did not start:\n{log.read_text()}")
            time.sleep(0.1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium or Chrome of this machine, else Playwright's own."""
    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        found = next(filter(None, map(shutil.which, names)), None)
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A reader who lives in another zone than the one that is shown."""
    context = browser.new_context(timezone_id="America/New_York")
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A new page; no script of it may fail."""
    page = context.new_page()
    page.set_viewport_size({"width": 1440, "height": 1000})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    named = os.environ.get("ERRATA_SCREENSHOTS")
    directory = Path(named) if named else tmp_path_factory.mktemp("pictures")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def open_screen(page: Page, url: str, name: str) -> None:
    """Open a screen and wait until its script has run."""
    page.goto(url)
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    finish(page)


def finish(page: Page) -> None:
    """Wait until the script behind the page has run, and every part is loaded."""
    expect(page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')).to_be_visible()
    expect(page.locator('[data-testid="stSkeleton"]')).to_have_count(0)


def text_of(page: Page, text: str | re.Pattern[str]) -> Locator:
    """Where a screen shows a text as it is; cells of tables are drawn."""
    return page.locator('[data-testid="stText"]').filter(has_text=text)


def take_picture(page: Page, file: Path) -> None:
    """A picture of the whole screen, however long it is."""
    main = page.locator('[data-testid="stMain"]')
    height = main.evaluate("element => element.scrollHeight")
    page.set_viewport_size({"width": 1440, "height": max(1000, min(height + 20, 6000))})
    finish(page)
    page.wait_for_function("document.fonts.status === 'loaded'")
    page.screenshot(path=file)
    assert file.stat().st_size > 20_000


def test_quality_and_the_way_to_the_run(page: Page, address: str, pictures: Path, seeded: Seeded):
    open_screen(page, f"{address}/?model={MODEL}", "Quality")
    for heading in ("Offline, in numbers", "Online, in numbers", "Offline, in words", "Online, in words"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.get_by_text(re.compile(f"Run {seeded.run_id[-4:]} ended at"))).to_be_visible()
    expect(page.get_by_text(VOCS[5][0])).to_be_visible()
    expect(page.locator('[data-testid="stImage"] img').first).to_be_visible()
    expect(text_of(page, XSS)).to_be_visible()
    assert page.evaluate("window.pwned") is None
    take_picture(page, pictures / "quality.png")
    page.get_by_role("link", name=f"All cases of run {seeded.run_id[-4:]}").click()
    expect(page.get_by_role("heading", name="From signal to release")).to_be_visible()


def test_online_numbers_and_the_chosen_time_in_the_link(page: Page, address: str, pictures: Path):
    open_screen(page, f"{address}/online?model={MODEL}&span=6+h", "Online numbers")
    expect(
        page.locator('[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg')
    ).to_have_count(5)
    expect(
        page.get_by_text("5.6 % allowed").or_(page.get_by_text("the rate that was allowed"))
    ).to_be_visible()
    take_picture(page, pictures / "online.png")
    page.get_by_role("radio", name="7 days").click()
    page.wait_for_url(re.compile("span=7"))


def test_voc_is_read_searched_and_exported(
    page: Page, address: str, pictures: Path, seeded: Seeded, tmp_path: Path
):
    open_screen(page, f"{address}/voc?id={seeded.voc_ids[0]}", "VOC")
    expect(text_of(page, KOREAN)).to_be_visible()
    expect(page.get_by_role("heading", name="The prediction it is about")).to_be_visible()
    expect(page.get_by_text(re.compile("card-reader, version 1"))).to_be_visible()
    take_picture(page, pictures / "voc.png")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export what fits as CSV").click()
    file = tmp_path / "voc.csv"
    download.value.save_as(file)
    exported = file.read_text(encoding="utf-8-sig")
    assert KOREAN in exported
    assert f"'{FORMULA[:10]}" in exported
    search = page.get_by_role("textbox", name="Search")
    search.fill("결제")
    search.press("Enter")
    expect(page.get_by_text("1 to 3 of 3")).to_be_visible()


def test_what_customers_wrote_never_runs(page: Page, address: str, seeded: Seeded):
    open_screen(page, f"{address}/voc?id={seeded.voc_ids[3]}", "VOC")
    expect(text_of(page, XSS)).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert page.locator('img[src="x"], a[href^="javascript"], a[href^="mailto"]').count() == 0


def test_labeling(page: Page, address: str, pictures: Path, seeded: Seeded):
    open_screen(page, f"{address}/labeling?batch={seeded.batch_id}&part=evaluation", "Labeling")
    expect(page.get_by_role("paragraph").filter(has_text="0.05 USD × 60 = 3.00 USD")).to_be_visible()
    expect(page.get_by_text("bad_data 로 표시하세요")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^Item "))).to_be_visible()
    expect(page.locator('[data-testid="stImage"] img')).to_be_visible()
    page.get_by_text("For the labelers").click()
    expect(page.get_by_text(re.compile(f"errata batch export {seeded.batch_id}"))).to_be_visible()
    take_picture(page, pictures / "labeling.png")


def test_runs(page: Page, address: str, pictures: Path, seeded: Seeded):
    open_screen(page, f"{address}/runs?model={MODEL}&run={seeded.run_id}", "Runs")
    expect(page.get_by_text("Scorecards measured").first).to_be_visible()
    expect(page.get_by_text(re.compile("Promote 2: Version 2 fixes 12 and breaks 2"))).to_be_visible()
    expect(page.get_by_role("heading", name="Fixed: 12")).to_be_visible()
    take_picture(page, pictures / "runs.png")


def test_alerts_and_a_test_that_is_sent(page: Page, address: str, pictures: Path, seeded: Seeded):
    open_screen(page, f"{address}/alerts", "Alerts")
    expect(text_of(page, "A run of translator failed")).to_be_visible()
    assert page.evaluate("window.pwned") is None
    take_picture(page, pictures / "alerts.png")
    page.get_by_role("button", name="Send a test").click()
    expect(text_of(page, "The test of team-chat, asked for")).to_be_visible()
    sent: list[str] = []
    sender = AlertSender(
        Alerts(channels={"team-chat": Channel(quiet_hours="00:00-23:59")}),
        lambda _, message: sent.append(message.title),
        str,
    )
    database = open_database(seeded.url)
    sender.send_due(database, lambda: time.time_ns() // 1000)
    database.close()
    assert sent == ["A test"]
    expect(text_of(page, re.compile("The test of team-chat.*told"))).to_be_visible()


def test_intake(page: Page, address: str, pictures: Path):
    open_screen(page, f"{address}/intake", "Intake")
    expect(page.get_by_text("Events consumed")).to_be_visible()
    expect(page.get_by_role("heading", name="Dead letters")).to_be_visible()
    take_picture(page, pictures / "intake.png")
