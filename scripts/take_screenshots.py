"""Takes the pictures in docs/screenshots of a dashboard that runs: `make demo` first, then `make screenshots`."""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

WIDTH = 1440
#: Every screen: the name of its picture, its address, its title. A picture shows as much as its height allows.
SCREENS = (
    ("quality", "/?model=card-reader&span=1+h", "Quality", 2400),
    ("online", "/online?model=card-reader&span=1+h", "Online numbers", 2200),
    ("voc", "/voc?q=카드", "VOC", 1200),
    ("labeling", "/labeling?part=corrected", "Labeling", 1700),
    ("runs", "/runs?model=card-reader", "Runs", 2100),
    ("alerts", "/alerts", "Alerts", 1000),
    ("intake", "/intake", "Intake", 1000),
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Take one picture per screen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8501")
    parser.add_argument("--directory", type=Path, default=Path("docs/screenshots"))
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=60_000)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for name, path, title, height in SCREENS:
            page.set_viewport_size({"width": WIDTH, "height": 1000})
            page.goto(arguments.address + path)
            expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
            picture = take_picture(page, height)
            (arguments.directory / f"{name}.png").write_bytes(picture)
        browser.close()


def take_picture(page: Page, height_at_most: int) -> bytes:
    """The screen once its script has run and its charts are drawn, as a small PNG of 256 colours."""
    wait_until_drawn(page)
    content = page.locator('[data-testid="stMain"]').evaluate("element => element.scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": min(content, height_at_most)})
    page.wait_for_timeout(1500)
    wait_until_drawn(page)
    drawn = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    file = io.BytesIO()
    drawn.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def wait_until_drawn(page: Page) -> None:
    """Wait until the script behind the page has run and no part is still loading."""
    expect(page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')).to_be_visible()
    expect(page.locator('[data-testid="stSkeleton"]')).to_have_count(0)


if __name__ == "__main__":
    main()
