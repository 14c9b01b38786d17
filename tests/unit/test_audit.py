"""A proof of a ledger finds every altered, missing or inserted entry. Only an erased reason is not a finding."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from accounting.domain import wallet as decisions
from accounting.domain.accounts import personal
from accounting.domain.audit import MAX_FINDINGS, Finding, KindSums, LedgerSums, Proof
from accounting.domain.errors import InsufficientCredits
from accounting.domain.ledger import OF_SECOND_FORMAT, Cause, Entry, Kind, NewerEntry, Unreadable, digest
from accounting.domain.lots import Lot
from accounting.domain.wallet import AnyDecision, Wallet
from accounting.times import DAY, HOUR

NOW = 1_800_000_000_000
ACCOUNT = personal("u1")


def history(seed: int, commands: int = 40) -> tuple[Wallet, list[Entry]]:
    """A wallet and its ledger, made by random commands."""
    rng = random.Random(seed)
    wallet, entries, held = Wallet(ACCOUNT), list[Entry](), list[tuple[Lot, ...]]()
    now = NOW
    for number in range(commands):
        now += rng.randrange(6 * HOUR)
        of_a_run = {"key_id": "k", "run_id": f"r{number}"} if number % 2 else {}
        cause = Cause("boss", now, "why", f"salt{number}", session_id=f"s{number}", **of_a_run)
        try:
            decision = _command(rng, wallet, cause, held)
        except InsufficientCredits:
            continue
        wallet = decision.wallet
        entries += decision.entries
    return wallet, entries


def _command(rng: random.Random, wallet: Wallet, cause: Cause, held: list[tuple[Lot, ...]]) -> AnyDecision:
    credits, expires_at = rng.randrange(1, 60), cause.at + rng.randrange(1, 3 * DAY)
    match rng.choice(["grant", "hold", "hold", "settle", "settle", "remove", "set", "charge", "adjust"]):
        case "hold":
            hold = decisions.hold(wallet, credits, cause=cause)
            held.append(hold.parts)
            return hold
        case "settle" if held:
            return decisions.settle(wallet, held.pop(0), rng.randrange(80), grace_milliseconds=DAY, cause=cause)
        case "remove":
            return decisions.remove(wallet, credits, cause=cause)
        case "set":
            return decisions.set_available(wallet, credits, expires_at=expires_at, cause=cause)
        case "charge":
            return decisions.charge(wallet, credits, cause=cause)
        case "adjust":
            return decisions.remove(wallet, credits, cause=cause, kind="adjust")
    return decisions.grant(wallet, credits, expires_at=expires_at, cause=cause)


def findings(wallet: Wallet, entries: Sequence[Entry | Unreadable | NewerEntry]) -> list[Finding]:
    proof = Proof(ACCOUNT, since=NOW)
    proof.follow(entries)
    proof.compare(wallet)
    return proof.findings


@pytest.mark.parametrize("seed", range(60))
def test_an_intact_ledger_has_no_findings_whether_it_is_read_at_once_or_in_parts(seed: int) -> None:
    wallet, entries = history(seed)
    proof = Proof(ACCOUNT, since=NOW)
    proof.follow(entries[: len(entries) // 2])
    assert proof.intact
    proof.follow(entries[len(entries) // 2 :])
    proof.compare(wallet)

    assert proof.findings == findings(wallet, entries) == []
    assert proof.drift(wallet) == 0
    assert sum(kind.entries for kind in proof.by_kind.values()) == wallet.entry_seq


def test_the_histories_have_every_kind_of_entry() -> None:
    kinds = {entry.kind for seed in range(60) for entry in history(seed)[1]}

    # A wallet merges lots only if it has more than a thousand. tests/unit/test_wallet.py tests merging.
    assert kinds == set(Kind.__args__) - {"merge"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in Entry._fields if name not in ("seq", "format")])
def test_an_altered_field_is_found_at_its_entry(name: str) -> None:
    for seed in range(20):
        wallet, entries = history(seed)
        places = [each.seq - 1 for each in entries if each.format == 2 or name not in OF_SECOND_FORMAT]
        place = random.Random(seed).choice(places)
        value = getattr(entries[place], name)
        change: dict[str, Any] = {name: value + 1 if isinstance(value, int) else f"{value}x"}
        found = findings(wallet, [*entries[:place], entries[place]._replace(**change), *entries[place + 1 :]])

        assert Finding("altered", place + 1) in found


def rehashed(entries: list[Entry]) -> list[Entry]:
    """A ledger with recomputed hashes, as a skilled attacker would make it."""
    chained, head = list[Entry](), ""
    for entry in entries:
        head = entry.hashed(head)
        chained.append(entry._replace(hash=head))
    return chained


@pytest.mark.parametrize("seed", range(30))
def test_a_removed_entry_is_found(seed: int) -> None:
    wallet, entries = history(seed)
    place = random.Random(seed).randrange(len(entries))

    assert Finding("missing", place + 1) in findings(wallet, [*entries[:place], *entries[place + 1 :]])


@pytest.mark.parametrize("seed", range(30))
def test_an_inserted_entry_is_found_even_if_later_entries_are_renumbered_and_rehashed(seed: int) -> None:
    wallet, entries = history(seed)
    place = random.Random(seed).randrange(1, len(entries))
    forged = entries[place - 1]._replace(credits=5, reason="a gift")
    numbered = [*entries[:place], forged, *entries[place:]]
    fitting = rehashed([entry._replace(seq=number) for number, entry in enumerate(numbered, 1)])

    assert findings(wallet, fitting)
    assert findings(wallet, [*entries[:place], forged, *entries[place:]])


@pytest.mark.parametrize(
    "change",
    [
        lambda wallet: wallet._replace(granted=wallet.granted + 5, held=wallet.held + 5),
        lambda wallet: wallet._replace(charged=wallet.charged + 1),
        lambda wallet: wallet._replace(head="0" * 64),
        lambda wallet: wallet._replace(head=""),
        lambda wallet: wallet._replace(entry_seq=wallet.entry_seq - 1),
        lambda wallet: wallet._replace(entry_seq=wallet.entry_seq + 1),
        lambda wallet: Wallet(ACCOUNT),
    ],
)
def test_a_wallet_that_does_not_match_its_ledger_is_found(change: Callable[[Wallet], Wallet]) -> None:
    wallet, entries = history(1)

    assert findings(change(wallet), entries)


def test_a_duplicate_entry_is_found_as_inserted_and_the_rest_is_still_read() -> None:
    wallet, entries = history(2)

    assert findings(wallet, [*entries[:3], entries[2], *entries[3:]]) == [Finding("inserted", 3)]
    assert findings(wallet, [*entries[:3], entries[1], *entries[3:]]) == [Finding("inserted", 2)], (
        "the finding must have the number of the duplicate"
    )


def test_if_the_last_entries_are_missing_the_finding_has_the_number_of_the_first() -> None:
    wallet, entries = history(2)
    last = wallet.entry_seq

    assert findings(wallet, entries[:-1]) == [Finding("missing", last), Finding("wallet", last)]
    assert findings(wallet, entries[:-2]) == [Finding("missing", last - 1), Finding("wallet", last)]
    assert findings(wallet._replace(entry_seq=last - 1), entries) == [Finding("wallet", last - 1)]


def test_an_entry_with_wrong_sums_is_found_even_if_its_hash_matches() -> None:
    wallet, entries = history(2)
    last = wallet.entry_seq
    for place in (10, last):
        wrong = [entry._replace(available_after=entry.available_after + 1) for entry in entries[place - 1 :]]
        forged = rehashed([*entries[: place - 1], *wrong])
        found = findings(wallet._replace(head=forged[-1].hash), forged)
        assert found == [Finding("sums", place), Finding("wallet", last)], (
            "only the first wrong entry must be found, because later entries add up from its sums"
        )


def test_a_proof_adds_up_the_entries_of_each_kind() -> None:
    _, entries = history(2)
    proof = Proof(ACCOUNT, since=NOW)

    proof.follow(entries)

    assert len(proof.by_kind) > 5
    for kind, sums in proof.by_kind.items():
        of_kind = [entry for entry in entries if entry.kind == kind]
        credits, charged = (sum(getattr(entry, name) for entry in of_kind) for name in ("credits", "charged"))
        assert sums == KindSums(len(of_kind), credits, charged)


@pytest.mark.parametrize(("available", "stated"), [(5, 6), (-1, -1)])
def test_a_wrong_or_negative_sum_in_an_entry_is_found(available: int, stated: int) -> None:
    entry = Entry(ACCOUNT, 1, "merge", 0, 0, stated, 0, 0, NOW, "boss")

    assert not LedgerSums(available=available).explains(entry)


BEFORE = LedgerSums(available=10, held=6, granted=16)


@pytest.mark.parametrize(
    ("kind", "credits", "charged", "after"),
    [
        ("grant", 5, 0, BEFORE._replace(available=15, granted=21)),
        ("adjust", 5, 0, BEFORE._replace(available=15, granted=21)),
        ("set", 5, 0, BEFORE._replace(available=15, granted=21)),
        ("remove", -4, 0, BEFORE._replace(available=6, removed=4)),
        ("adjust", -4, 0, BEFORE._replace(available=6, removed=4)),
        ("set", -4, 0, BEFORE._replace(available=6, removed=4)),
        ("set", 0, 0, BEFORE),
        ("hold", -4, 0, BEFORE._replace(available=6, held=10)),
        ("charge", -4, 4, BEFORE._replace(available=6, charged=4)),
        ("settle", 1, 5, BEFORE._replace(available=11, held=0, charged=5)),
        ("release", 6, 0, BEFORE._replace(available=16, held=0)),
        ("expire", -4, 0, BEFORE._replace(available=6, expired=4)),
        ("merge", 0, 0, BEFORE),
    ],
)
def test_each_kind_of_entry_changes_the_right_sums(kind: Kind, credits: int, charged: int, after: LedgerSums) -> None:
    entry = Entry(ACCOUNT, 1, kind, credits, charged, after.available, after.held, 0, NOW, "boss")

    assert BEFORE.after(entry) == after
    assert after.explains(entry)
    assert after.drift() == 0


@pytest.mark.parametrize(
    ("kind", "before", "credits", "charged", "after"),
    [
        (
            "repay",
            LedgerSums(available=10, charged=6, granted=12, debt=4),
            -4,
            0,
            LedgerSums(available=6, charged=6, granted=12),
        ),
        ("write_off", LedgerSums(charged=4, debt=4), 0, 0, LedgerSums(charged=4, granted=4)),
        ("settle", BEFORE, -10, 20, LedgerSums(charged=20, granted=16, debt=4)),
    ],
)
def test_each_entry_that_changes_the_debt_changes_the_right_sums(
    kind: Kind, before: LedgerSums, credits: int, charged: int, after: LedgerSums
) -> None:
    entry = Entry(ACCOUNT, 1, kind, credits, charged, after.available, after.held, after.debt, NOW, "boss")

    assert before.after(entry) == after
    assert after.explains(entry)
    assert before.drift() == after.drift() == 0


def test_an_unreadable_entry_is_reported_as_altered_and_later_entries_are_not() -> None:
    wallet, entries = history(2)
    mixed: list[Entry | Unreadable] = [*entries[:3], Unreadable(4, entries[3].hash), *entries[4:]]

    assert findings(wallet, mixed)[0] == Finding("altered", 4)
    assert not [found for found in findings(wallet, mixed) if found.problem == "altered"][1:]
    assert findings(wallet, [*entries, Unreadable(None, "")]) == [Finding("inserted", wallet.entry_seq)]


def test_a_proof_keeps_only_its_first_findings() -> None:
    proof = Proof(ACCOUNT, since=0)

    for seq in range(MAX_FINDINGS + 1):
        proof.add_finding("altered", seq)

    assert [found.seq for found in proof.findings] == [*range(MAX_FINDINGS)]


def test_a_ledger_is_still_intact_after_its_reasons_are_erased() -> None:
    wallet, entries = history(3)
    erased = [entry._replace(reason="", salt="") for entry in entries]

    assert any(entry.reason for entry in entries)
    assert findings(wallet, erased) == []


def test_a_replaced_reason_is_found_by_its_digest() -> None:
    wallet, entries = history(3)
    place = next(place for place, entry in enumerate(entries) if entry.reason)
    forged = entries[place]._replace(reason="something else", salt="")

    assert findings(wallet, [*entries[:place], forged, *entries[place + 1 :]]) == [Finding("altered", place + 1)]


def test_equal_reasons_have_different_digests() -> None:
    _, entries = history(3)
    digests = [entry.reason_digest for entry in entries if entry.reason]

    assert len(digests) > 5
    assert len(set(digests)) > len(digests) // 2  # the entries of one command share its salt


def test_an_entry_of_a_newer_format_stops_the_proof_without_a_finding() -> None:
    wallet, entries = history(2)
    proof = Proof(ACCOUNT, since=NOW)

    proof.follow([*entries[:3], NewerEntry(4), *entries[4:]])
    proof.compare(wallet)

    assert (proof.unread, proof.seq, proof.findings) == (True, 3, [])
    assert proof.sums != LedgerSums.of(wallet)
    assert proof.drift(wallet) == 0


def test_an_empty_reason_has_no_digest() -> None:
    assert digest("", "") == digest("", "salt") == ""


def test_the_hash_of_an_entry_of_the_first_format_never_changes() -> None:
    """Otherwise, stored ledgers could no longer be proved."""
    entry = Entry(
        ACCOUNT, 7, "settle", 1, 4, 6, 0, 0, NOW, "u1", "why", "salt", digest("why", "salt"), "s1", None, "usage"
    )

    assert entry.hashed("before") == "ff9298c30fb3fcd041274d2ad3ca78799d93e5703d659354aaf9af64116d736a"


def test_the_hash_of_an_entry_of_the_second_format_never_changes() -> None:
    entry = Entry(
        ACCOUNT, 7, "settle", 1, 4, 6, 0, 0, NOW, "u1", "why", "salt", digest("why", "salt"), "s1", None, "usage"
    )._replace(key_id="key", run_id="run", format=2)

    assert entry.hashed("before") == "cdee80798376c0907a66a6e74141d10926fd47fb1146b6cd412ae1e7af940d87"


def test_only_entries_of_an_api_key_or_a_run_are_in_the_second_format() -> None:
    wallet = decisions.grant(Wallet(ACCOUNT), 10, expires_at=NOW + DAY, cause=Cause("boss", NOW)).wallet
    causes = [Cause("u1", NOW), Cause("u1", NOW, key_id="k"), Cause("u1", NOW, run_id="r")]

    entries = [decisions.charge(wallet, 1, cause=cause).entries[0] for cause in causes]

    assert [(entry.format, entry.key_id, entry.run_id) for entry in entries] == [
        (1, None, None),
        (2, "k", None),
        (2, None, "r"),
    ]
