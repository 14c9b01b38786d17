"""A user's allocations and ledger entries over HTTP, in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.client import Person, path_references
from tests.e2e.credits import about_now, today, tomorrow

if TYPE_CHECKING:
    from tests.e2e.conftest import People


# ------------------------------------------------------------------------------------------------------- allocations


@pytest.fixture(scope="module")
def grantee(people: People, admin: Person) -> Person:
    """Return a user with five grants of 1 to 5 credits; the first grant has no credits left."""
    person = people()
    for credits in range(1, 6):
        body = {"userId": person.id, "credits": credits, "expiryDays": 10 + credits, "notes": f"grant {credits}"}
        admin.ok("POST", "credits/allocate", body)
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 1})
    return person


def test_allocations_show_each_grant_and_its_remaining_credits(grantee: Person) -> None:
    page = grantee.ok("GET", "credits/allocations")

    assert (page["total"], page["page"], page["totalPages"]) == (5, 1, 1)
    assert "nextCursor" not in page
    grants = page["allocations"]
    assert [(grant["totalCredits"], grant["remainingCredits"]) for grant in grants] == [
        (5, 5),
        (4, 4),
        (3, 3),
        (2, 2),
        (1, 0),
    ]
    for shown in grants:
        credits = shown["totalCredits"]
        assert set(shown) == {
            "id",
            "totalCredits",
            "remainingCredits",
            "allocatedBy",
            "allocatedAt",
            "expiresAt",
            "notes",
        }
        assert (shown["allocatedBy"], shown["notes"]) == ("boss", f"grant {credits}")
        assert about_now(shown["allocatedAt"])
        assert about_now(shown["expiresAt"], days=10 + credits)


def test_allocations_come_in_pages(grantee: Person) -> None:
    def page(number: int) -> Any:
        return grantee.ok("GET", "credits/allocations", params={"page": number, "limit": 2})

    pages = [page(number) for number in (1, 2, 3, 4)]

    assert [[grant["totalCredits"] for grant in page["allocations"]] for page in pages] == [[5, 4], [3, 2], [1], []]
    assert [(page["total"], page["page"], page["totalPages"]) for page in pages] == [
        (5, number, 3) for number in (1, 2, 3, 4)
    ]


def test_cursors_lead_through_all_allocations(grantee: Person, admin: Person) -> None:
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = grantee.ok("GET", "credits/allocations", params={"limit": 2, **cursor})
        seen += [grant["totalCredits"] for grant in page["allocations"]]
        cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}

    assert seen == [5, 4, 3, 2, 1]
    assert not cursor
    for name, reference in path_references(grantee).items():
        for caller in (admin, grantee):
            assert caller.ok("GET", f"credits/allocations/{reference}")["total"] == 5, name


def test_a_new_grant_does_not_shift_the_next_page_of_allocations(people: People, admin: Person) -> None:
    person = people()
    for credits in (1, 2, 3):
        admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": credits})
    first = person.ok("GET", "credits/allocations", params={"limit": 2})
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 4})

    second = person.ok("GET", "credits/allocations", params={"limit": 2, "cursor": first["nextCursor"]})

    assert [grant["totalCredits"] for grant in second["allocations"]] == [1]


def test_the_list_of_allocations_is_empty_if_nothing_was_granted(people: People) -> None:
    assert people().ok("GET", "credits/allocations") == {"total": 0, "page": 1, "totalPages": 0, "allocations": []}


# ------------------------------------------------------------------------------------------------------------ ledger


@pytest.fixture(scope="module")
def with_history(people: People, admin: Person) -> Person:
    """Return a user with a ledger of eight entries."""
    person = people(credits=100)
    session = person.open(tokens=10_000)
    assert person.finalize(session, 4000).is_success
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 10, "notes": "a fine"})
    admin.ok("PUT", "credits/adjust", {"userId": person.id, "adjustment": 4})
    admin.ok("POST", "credits/set", {"userId": person.id, "credits": 50})
    assert person.abort(person.open(tokens=10_000), tokensGenerated=0).is_success
    return person


def test_the_ledger_explains_every_change_newest_first(with_history: Person, admin: Person) -> None:
    page = with_history.ok("GET", "credits/ledger")

    assert "nextCursor" not in page
    entries = page["entries"]
    facts = [
        (entry["seq"], entry["kind"], entry["credits"], entry["availableAfter"], entry["heldAfter"], entry["actor"])
        for entry in entries
    ]
    assert facts == [
        (8, "release", 12, 50, 0, with_history.id),
        (7, "hold", -12, 38, 12, with_history.id),
        (6, "set", -40, 50, 0, admin.id),
        (5, "adjust", 4, 90, 0, admin.id),
        (4, "remove", -10, 86, 0, admin.id),
        (3, "settle", 8, 96, 0, with_history.id),
        (2, "hold", -12, 88, 12, with_history.id),
        (1, "grant", 100, 100, 0, admin.id),
    ]
    assert [entry["reason"] for entry in entries if entry["reason"]] == ["a fine"]
    by_seq = {entry["seq"]: entry for entry in entries}
    assert {seq for seq, entry in by_seq.items() if "sessionId" in entry} == {2, 3, 7, 8}
    assert {seq for seq, entry in by_seq.items() if "allocationId" in entry} == {1, 5}
    assert {seq for seq, entry in by_seq.items() if "usageId" in entry} == {3, 8}
    assert by_seq[2]["sessionId"] == by_seq[3]["sessionId"] != by_seq[7]["sessionId"]
    assert all(about_now(entry["at"]) for entry in entries)


def test_cursors_lead_through_the_whole_ledger(with_history: Person, admin: Person) -> None:
    for caller, path in (
        (with_history, "credits/ledger"),
        *((admin, f"credits/ledger/{reference}") for reference in path_references(with_history).values()),
    ):
        pages: list[list[int]] = []
        cursor: dict[str, str] = {}
        for _ in range(3):
            page = caller.ok("GET", path, params={"limit": 3, **cursor})
            pages.append([entry["seq"] for entry in page["entries"]])
            cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}
        assert pages == [[8, 7, 6], [5, 4, 3], [2, 1]]
        assert not cursor


def test_the_ledger_can_be_limited_to_a_period(with_history: Person) -> None:
    def seqs(**period: str) -> list[int]:
        return [entry["seq"] for entry in with_history.ok("GET", "credits/ledger", params=period)["entries"]]

    everything = [8, 7, 6, 5, 4, 3, 2, 1]
    at = {entry["seq"]: entry["at"] for entry in with_history.ok("GET", "credits/ledger")["entries"]}
    since_5 = [seq for seq in everything if at[seq] >= at[5]]
    until_5 = [seq for seq in everything if at[seq] <= at[5]]

    assert seqs(startDate=today()) == everything
    assert seqs(endDate=today()) == everything
    assert seqs(startDate=today(), endDate=today()) == everything
    assert seqs(startDate=tomorrow()) == []
    assert seqs(endDate="2020-01-01") == []
    assert seqs(startDate=at[5]) == since_5
    assert seqs(endDate=at[5]) == until_5
    assert seqs(startDate=at[5], endDate=at[5]) == [seq for seq in since_5 if seq in until_5]
    assert seqs(startDate=at[5], limit="1") == [8]
    assert seqs(startDate="2020-01-01T00:00:00+02:00") == everything


def test_pages_of_a_period_have_no_entries_outside_the_period(with_history: Person) -> None:
    at = {entry["seq"]: entry["at"] for entry in with_history.ok("GET", "credits/ledger")["entries"]}
    wanted = [seq for seq in sorted(at, reverse=True) if at[4] <= at[seq] <= at[6]]
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for _ in wanted:
        period = {"startDate": at[4], "endDate": at[6], "limit": "1"}
        page = with_history.ok("GET", "credits/ledger", params={**period, **cursor})
        seen += [entry["seq"] for entry in page["entries"]]
        cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}

    assert seen == wanted
    assert not cursor
