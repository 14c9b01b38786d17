"""Two ways to grant credits in the console: as a newcomer who reads the hints, and with the keyboard alone."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from local import run, tokens

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from local.stack import Stack
    from tests.browser.console import Console
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

STEPS = 9
A_MINUTE = 60


def test_a_newcomer_grants_credits_in_nine_steps(
    service: Stack, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack_json = tmp_path / "stack.json"
    stack_json.write_text(service.as_json())
    monkeypatch.setattr(tokens, "STACK_JSON", stack_json)
    # Create the user who gets the credits.
    tokens.accepted_token("first-receiver", "user")
    printed = run.introduction(service)
    page = console.page
    began = time.monotonic()
    steps = iter(range(STEPS))

    next(steps)  # open the printed address
    address = re.search(r"^See and move credits +(\S+)$", printed, re.MULTILINE)
    assert address is not None
    page.goto("about:blank")
    page.goto(address[1])

    next(steps)  # run the command that the page and `make run` show
    hint = page.get_by_label("Token").locator("xpath=following-sibling::p").inner_text()
    command = re.search(r"make token USER=(\S+) ROLE=(\S+)", hint)
    assert command is not None
    assert f"\n{command[0]}\n" in printed
    token = tokens.accepted_token(*command.groups())

    next(steps)  # paste the token
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.insert_text(token)
    page.keyboard.press("Enter")

    next(steps)  # open the screen People
    page.get_by_role("navigation", name="Screens").get_by_role("link", name="People").click()

    next(steps)  # find the person
    page.get_by_label("User id or e-mail address").fill("first-receiver")
    page.keyboard.press("Enter")

    next(steps)  # press Grant
    page.get_by_role("button", name="Grant", exact=True).click()

    next(steps)  # enter the credits
    expect(console.dialog.get_by_label("Credits", exact=True)).to_be_focused()
    page.keyboard.insert_text("250")

    next(steps)  # enter the reason
    console.dialog.get_by_label("Reason").fill("A welcome gift")

    next(steps)  # press Grant
    console.dialog.get_by_role("button", name="Grant").click()

    assert "Granted 250 credits" in console.wait_until_done()
    console.expect_figure("Available", "250")
    assert list(steps) == []
    assert time.monotonic() - began < A_MINUTE, "the steps take a minute or more"


def test_credits_are_granted_with_the_keyboard_alone(console: Console, admin: Person, people: People) -> None:
    person, page = people(credits=5), console.page

    def tab_to(name: str) -> None:
        """Press Tab until the button or the field with this name has the focus."""
        for _ in range(60):
            page.keyboard.press("Tab")
            if (
                page.evaluate("document.activeElement.labels?.[0]?.innerText ?? document.activeElement.innerText")
                == name
            ):
                return
        raise AssertionError(f"{name} is not reached")

    console.sign_in(admin, "sessions")
    console.expect_heading("Sessions")
    page.keyboard.type("gp")
    console.expect_heading("People")
    page.keyboard.press("/")
    page.keyboard.type(person.id)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Grant", exact=True)).to_be_visible()
    tab_to("Grant")
    page.keyboard.press("Enter")
    expect(console.dialog.get_by_label("Credits", exact=True)).to_be_focused()
    page.keyboard.type("37")
    tab_to("Reason")
    page.keyboard.type("Because")
    page.keyboard.press("Enter")

    expect(console.dialog.locator(".notice.done")).to_contain_text("Granted 37 credits")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    console.expect_figure("Available", "42")
    expect(page.get_by_role("button", name="Grant", exact=True)).to_be_focused()
