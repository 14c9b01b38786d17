"""The console in a browser, as people use it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.browser.browser import PATIENCE_MILLISECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from tests.browser.browser import Watched
    from tests.e2e.client import Person

# The default timeout is too short for the first call of a Lambda function, which starts a worker process.
expect.set_options(timeout=PATIENCE_MILLISECONDS)

MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
"""Markup that a page must show as text."""

REQUEST_ID = re.compile(r"Request [0-9a-f-]{36}")
"""The line of an error message that has the request's id."""


@dataclass(frozen=True)
class Console:
    """The console in a browser. ``address`` is the console's URL."""

    page: Page
    watched: Watched
    address: str

    def sign_in(self, person: Person, screen: str) -> None:
        """Reload the console at a screen, and sign in as this person."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#/{screen}")
        self.page.get_by_label("Token").fill(person.token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Screens").wait_for()

    def go_to(self, screen: str) -> None:
        """Go to another screen, as a link does."""
        self.page.evaluate("address => { location.hash = address }", f"#/{screen}")

    def expect_heading(self, text: str) -> None:
        """Wait until the screen has this heading."""
        expect(self.page.get_by_role("heading", level=1, name=text, exact=True)).to_be_visible()

    def expect_figure(self, label: str, value: str) -> None:
        """Wait until the figure with this label has this value."""
        term = self.page.get_by_role("term").filter(has_text=re.compile(f"^{re.escape(label)}$"))
        expect(term.locator("xpath=following-sibling::dd[1]")).to_have_text(value)

    def rows(self, caption: str) -> Locator:
        """The rows of a table, without its head."""
        return self.page.get_by_role("table", name=caption, exact=True).locator("tbody tr")

    def tabs(self) -> list[str]:
        """The labels of the screen's tabs."""
        return self._tabs.all_inner_texts()

    def open_tab(self, label: str) -> None:
        self._tabs.get_by_text(label, exact=True).click()

    @property
    def _tabs(self) -> Locator:
        return self.page.get_by_role("navigation", name=re.compile("^About ")).get_by_role("link")

    @property
    def dialog(self) -> Locator:
        """The dialog that is open."""
        return self.page.get_by_role("dialog")

    def command(self, button: str, **typed: str) -> None:
        """Open a command's dialog and fill the fields that have these labels."""
        self.page.get_by_role("button", name=button, exact=True).click()
        for label, text in typed.items():
            self.dialog.get_by_label(label, exact=True).fill(text)

    def submit(self) -> None:
        """Send the dialog's command with a double click, as impatient people do."""
        self.dialog.locator("button[type=submit]").dblclick()

    def wait_until_done(self) -> str:
        """Wait until the command has succeeded, close the dialog, and return its notice."""
        notice = self.dialog.locator(".notice.done")
        notice.wait_for()
        text = notice.inner_text()
        self.dialog.get_by_role("button", name="Close").click()
        return text

    def refusal(self) -> str:
        """Wait until a refusal is shown, and return its text."""
        shown = self.page.get_by_role("alert")
        shown.wait_for()
        return shown.inner_text()

    def answer_once(self, address: str, status: int, body: dict[str, Any]) -> None:
        """Replace the service's answer to the next request to this address."""
        self.page.route(address, lambda route: route.fulfill(status=status, json=body), times=1)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds. Unlike `time.sleep`, this lets the page handle events."""
        deadline = time.monotonic() + PATIENCE_MILLISECONDS / 1000
        while not condition():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(100)

    def unexpected_errors(self) -> list[str]:
        """The page's errors, except refusals by the service and requests that were aborted when a page was left."""
        expected = ("the server responded with a status of 4", "net::ERR_ABORTED")
        return [each for each in self.watched.errors if not any(text in each for text in expected)]
