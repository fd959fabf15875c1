"""A headless Chromium, and what a page does in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

#: Widths and heights of a desktop and of a phone.
DESKTOP, PHONE = (1280, 900), (375, 740)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; the test is skipped where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_playwright() as driver:
        # Tests of a CI run as root, which Chromium's sandbox refuses; the pages are ours.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page that was opened from disk, what it said on the console and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, browser: Browser, path: Path, size: tuple[int, int], scheme: str) -> Opened:
        width, height = size
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            has_touch=size == PHONE,
        )
        opened = cls(page)
        page.on("console", lambda message: opened.said.append(message.text))
        page.on("pageerror", lambda error: opened.said.append(str(error)))
        page.on("dialog", lambda dialog: opened.said.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: opened.asked.append(request.url))
        page.goto(path.as_uri())
        return opened
