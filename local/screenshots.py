"""`make screenshots` takes the pictures in docs/images.

They show the console of the service that `make run` started. Run `make seed` first, so that there is data to show.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
from playwright.sync_api import expect, sync_playwright

from local import tokens
from local.chromium import Missing, chromium
from local.paths import LOCAL, STACK_JSON
from local.steps import Refused, explain, step

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = LOCAL.parent / "docs/images"
SIZE = {"width": 1120, "height": 840}
ADMIN = "demo-admin"
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server"]
PATIENCE_MILLISECONDS = 30_000
MAX_BALANCES = 20


def main() -> int:
    try:
        with step("Pictures in docs/images"):
            take()
    except Refused as refused:
        return explain(refused)
    except httpx.HTTPStatusError as error:
        return explain(Refused(f"the service answered {error.response.status_code} {error.response.text}"))
    except httpx.TransportError as error:
        return explain(Refused(f"the service does not answer ({error}); is `make run` still running?"))
    return 0


def take() -> None:
    """Sign in as an administrator and take a picture of each screen.

    Raises Refused if the service does not accept the token, if nobody has used credits, or if there is no Chromium.
    """
    token = tokens.accepted_token(ADMIN, "admin")
    base_url = json.loads(STACK_JSON.read_text())["baseUrl"]
    screens = {
        "overview": "overview",
        "wallet": f"people/{quote(_user_with_most_lots(base_url, token), safe='')}",
        "prices": "prices",
    }
    try:
        found = chromium()
    except Missing as missing:
        raise Refused(f"no Chromium: {missing}") from missing
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        environ: dict[str, str | float | bool] = {**os.environ, **found.environ}
        browser = playwright.chromium.launch(executable_path=found.path, env=environ, args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.goto(f"{base_url}/api/console")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        for name, screen in screens.items():
            _show(page, screen)
            page.screenshot(path=FOLDER / f"{name}.png")
        browser.close()


def _user_with_most_lots(base_url: str, token: str) -> str:
    """Of the users who spent the most, return the one with the most lots. Raises Refused if nobody has used credits."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{base_url}/api/", headers=headers, trust_env=False, timeout=30) as http:
        users: dict[str, int] = http.get("usage/system").raise_for_status().json()["byUser"]
        if not users:
            raise Refused("nobody has used credits: fill the service with `make seed`")
        lots: dict[str, int] = {}
        for user in sorted(users, key=lambda user: -users[user])[:MAX_BALANCES]:
            balance = http.get(f"credits/balance/{quote(user, safe='')}").raise_for_status().json()
            lots[user] = len(balance["activeAllocations"])
    return max(lots, key=lambda user: lots[user])


def _show(page: Page, screen: str) -> None:
    """Go to a screen, and wait until it has loaded everything."""
    page.get_by_role("navigation", name="Screens").wait_for()
    page.evaluate("address => { location.hash = address }", f"#/{screen}")
    page.wait_for_load_state("networkidle")
    expect(page.locator(".loading")).to_have_count(0)


if __name__ == "__main__":
    sys.exit(main())
