"""A real browser: Debian's chromium, driven by Playwright."""

import importlib.util
import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tests.lab.held import Held

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-headless-shell", "google-chrome")


def find_browser() -> str | None:
    """Look at $CHROMIUM_BIN, then on PATH."""
    found = map(shutil.which, [os.environ.get("CHROMIUM_BIN", ""), *NAMES])
    return next(filter(None, found), None)


def missing() -> str:
    """Return why no page can be looked at; empty: one can."""
    if not find_browser():
        return "no chromium: nox -s browser, as root, or CHROMIUM_BIN"
    if not importlib.util.find_spec("playwright"):
        return "no Playwright: nox -s browser"
    return ""


class Browser(Held):
    """Runs until it is left, and notes what its pages ask for and complain of."""

    def hold(self, stack: ExitStack) -> None:
        """Start it."""
        # Only here: most runs of the tests have none.
        from playwright.sync_api import sync_playwright  # noqa: PLC0415

        playwright = stack.enter_context(sync_playwright())
        self._browser = playwright.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox"]
        )
        stack.callback(self._browser.close)
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open(self, url: str, **settings: Any) -> "Page":
        """Open a page in a window of its own; `settings` are Playwright's, of it."""
        page = self._browser.new_context(**settings).new_page()
        page.on("console", lambda said: self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(url)
        return page
