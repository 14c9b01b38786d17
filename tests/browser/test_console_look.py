"""Every screen of the console is accessible and fits into windows of four widths, in light and in dark colors."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import pytest
from playwright.sync_api import expect

from tests.browser.console import MARKUP
from tests.e2e.client import new_id

if TYPE_CHECKING:
    from tests.browser.console import Console
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = (390, 768, 1024, 1600)
LONG = "W" * 60


@pytest.fixture(scope="module")
def screens(admin: Person, people: People) -> list[str]:
    """Store long texts and large numbers for all screens, and return the addresses of the screens."""
    person = people(credits=10**12)
    for days in (1, 30, 400):
        grant = {"userId": person.id, "credits": 5, "expiryDays": days, "notes": f"{MARKUP} {LONG}"}
        admin.ok("POST", "credits/allocate", grant)
    used = {"service": LONG[:50], "operation": LONG, "credits": 12345, "metadata": {LONG: MARKUP}}
    person.ok("POST", "usage/record", used)
    person.ok("POST", "api-keys", {"name": LONG, "permissions": ["credits:read", "usage:read"]})
    model = "m" * 200
    admin.ok("POST", "pricing", {"modelId": model, "pricePerThousandTokens": 2})
    session = {"sessionId": new_id(LONG), "modelId": model, "estimatedTokens": 10**7}
    person.ok("POST", "streaming-sessions/initialize", session)
    made = admin.ok("POST", "organizations", {"name": f"{MARKUP} {LONG}"[:100], "ownerId": person.id})
    return [
        *("overview", "people", "organizations", "sessions", "sessions?list=newest", "prices", f"prices/{model}"),
        *("prices?tab=quote", "prices?tab=import"),
        *(f"people/{person.id}?tab={tab}" for tab in ("", "ledger", "sessions", "usage", "keys", "runs", "audit")),
        *(
            f"organizations/{made['organizationId']}?tab={tab}"
            for tab in ("", "members", "ledger", "usage", "runs", "audit")
        ),
        *(f"me?tab={tab}" for tab in ("", "usage", "sessions", "keys", "ledger")),
    ]


def _violations(console: Console) -> list[str]:
    """The serious and critical problems that axe, an accessibility checker, finds on the page, one line each."""
    found: dict[str, Any] = console.page.evaluate(
        f"async () => {{ {AXE}; return await axe.run({{ runOnly: {RULES} }}) }}"
    )
    assert len(found["passes"]) > 10, "axe must have checked something"
    return [
        f"{each['impact']} {each['id']}: {[node['target'] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("scheme", "widths"), [("light", WIDTHS), ("dark", WIDTHS[::-1])])
def test_every_screen_fits_at_four_widths_and_is_accessible(
    console: Console, admin: Person, screens: list[str], scheme: Literal["light", "dark"], widths: tuple[int, ...]
) -> None:
    """Axe checks each screen only at the last width: light screens at the widest, dark screens at the narrowest."""
    page = console.page
    page.emulate_media(color_scheme=scheme)
    console.sign_in(admin, "overview")
    wrong: dict[str, Any] = {}
    for screen in screens:
        console.go_to(screen)
        page.wait_for_load_state("networkidle")
        expect(page.locator(".loading")).to_have_count(0)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 900})
            extent = page.evaluate("document.documentElement.scrollWidth")
            if extent > width:
                wrong[f"{screen} at {width}"] = f"{extent} px wide"
        if found := _violations(console):
            wrong[screen] = found

    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    assert wrong == {}


def test_signing_in_and_an_open_dialog_are_accessible(console: Console, admin: Person, people: People) -> None:
    console.page.goto("about:blank")
    console.page.goto(console.address)
    console.expect_heading("Sign in")
    assert _violations(console) == []

    console.sign_in(admin, f"people/{people(credits=5).id}")
    console.page.get_by_role("button", name="Grant").click()
    expect(console.dialog).to_be_visible()
    assert _violations(console) == []
