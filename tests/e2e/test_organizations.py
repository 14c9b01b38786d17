"""A closed organization, and the examples of docs/organizations.md and docs/budgets.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from local.paths import ROOT
from tests.e2e.client import Person, assert_refused

if TYPE_CHECKING:
    import pytest

    from local.stack import Stack
    from tests.e2e.conftest import People

PAGE = ROOT / "docs/organizations.md"
BUDGETS = ROOT / "docs/budgets.md"


def test_the_examples_in_docs_organizations_work(
    service: Stack, admin: Person, people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    team = {f"{name}@example.com": people() for name in ("ada", "grace", "linus")}
    ada = team["ada@example.com"]
    for name, value in (("ACCOUNTING_URL", service.base_url), ("ACCOUNTING_ADMIN_TOKEN", admin.token)):
        monkeypatch.setenv(name, value)
    for name, value in (("ADA_TOKEN", ada.token), ("ADA_ID", ada.id), ("NO_PROXY", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    page = PAGE.read_text()
    for address, person in team.items():
        page = page.replace(address, person.email)
    module: dict[str, Any] = {}
    printed = []

    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), module)
        printed.append(capsys.readouterr().out.split())

    create, members, costs, key, close = printed
    assert create == [module["acme"].organization_id, f"org:{module['acme'].organization_id}"]
    assert dict(zip(members[::2], members[1::2], strict=True)) == {
        ada.email: "owner",
        team["grace@example.com"].email: "admin",
        team["linus@example.com"].email: "member",
    }
    assert (costs[:3], costs[-3:]) == (["10000", "{}", "0"], ["grant", "10000", admin.id])
    assert key[0].startswith("acct_")
    assert close == ["10000", "0"]
    assert ada.balance()["totalCredits"] == 10_000


def test_a_closed_organization_can_still_be_read(admin: Person, people: People) -> None:
    owner = people()
    made = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": owner.id})
    account = {"accountId": made["accountId"]}
    admin.ok("POST", "credits/allocate", {**account, "credits": 100})

    closed = admin.ok("POST", f"organizations/{made['organizationId']}/close")

    assert (closed["removedCredits"], closed["movedCredits"], closed["heldCredits"]) == (100, 0, 0)
    assert owner.ok("GET", "credits/balance", params=account)["totalCredits"] == 0
    assert [each["kind"] for each in owner.ok("GET", "credits/ledger", params=account)["entries"]] == [
        "remove",
        "grant",
    ]
    assert admin.ok("GET", f"credits/audit/{made['accountId']}")["intact"]
    assert_refused(admin.post("credits/allocate", {**account, "credits": 1}), 409, "ORGANIZATION_CLOSED")
    path = f"organizations/{made['organizationId']}/members/{admin.id}"
    assert_refused(owner.call("PUT", path, {"role": "member"}), 409, "ORGANIZATION_CLOSED")


def test_the_examples_in_docs_budgets_work(
    service: Stack, admin: Person, people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, member = people(), people()
    made = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": owner.id})
    owner.ok("PUT", f"organizations/{made['organizationId']}/members/{member.id}", {"role": "member"})
    account = made["accountId"]
    admin.ok("POST", "credits/allocate", {"accountId": account, "credits": 10_000})
    for name, value in (
        ("ACCOUNTING_URL", service.base_url),
        ("ACCOUNT", account),
        ("OWNER_TOKEN", owner.token),
        ("MEMBER_ID", member.id),
        ("MEMBER_TOKEN", member.token),
        ("NO_PROXY", "127.0.0.1"),
    ):
        monkeypatch.setenv(name, value)
    module: dict[str, Any] = {}
    printed = []

    for block in re.findall(r"```python\n(.*?)```", BUDGETS.read_text(), re.DOTALL):
        exec(compile(block, BUDGETS.name, "exec"), module)
        printed.append(capsys.readouterr().out.split())

    _, left, refused, preview, run, stopped = printed
    assert left[:4] == [f"member:{member.id}", "0", "of", "200"]
    assert refused[:3] == [f"member:{member.id}", "200", "360"]
    assert preview[:2] == ["False", "360"]
    assert " ".join(preview).endswith(f"member:{member.id} 200 fails")
    assert run == ["18", "82", "{'plain-model':", "15}"]
    assert stopped == ["stopped"]
    balance = owner.call("GET", f"credits/balance?accountId={account}").json()
    assert balance["totalCredits"] == 10_000 - 18
