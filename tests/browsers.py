"""A real browser that opens pages, and what is asked of every page in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = {"width": 360, "height": 740}


@contextmanager
def launched() -> Iterator[Browser]:
    """A Chromium without a window; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install optbench[browser]")
    pytest.importorskip("axe_playwright_python", reason="needs pip install optbench[browser]")
    if CHROMIUM is None:
        pytest.skip("needs chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def assert_accessible(page: Page) -> None:
    """axe finds nothing to object to, on a desk and on a phone, with everything unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for size in ({"width": 1100, "height": 900}, PHONE):
        page.set_viewport_size(size)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert len(results.response["passes"]) > 20, "it did look"
