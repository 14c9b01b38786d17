"""The canonical form of email addresses: equal for all spellings of one address, and different for other addresses."""

import sys
from itertools import batched
from unicodedata import category, normalize

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.addresses import canonical


@pytest.mark.parametrize(
    ("spelled", "form"),
    [
        ("Kate.K@Corp.Example", "kate.k@corp.example"),
        ("  a@b.c\t", "a@b.c"),
        ("\u3000a@b.c\u00a0", "a@b.c"),
        ("ju\u0308rgen@corp.example", "j\u00fcrgen@corp.example"),
        ("a@B\u00fccher.Example", "a@xn--bcher-kva.example"),
        ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
        ("a@corp\u3002example", "a@corp.example"),
        ("a@b@c.d", "a@b@c.d"),
        ("a@B@B\u00fccher.Example", "a@b@xn--bcher-kva.example"),
        ("a b@c", "a b@c"),
        ("a@corp.example.", "a@corp.example"),
        ("a@B\u00fccher.example\u3002", "a@xn--bcher-kva.example"),
        ("a@i\u2764.example", "a@xn--i-7iq.example"),
        ("a@B\u00dcCHER.My_Host.example", "a@xn--bcher-kva.my_host.example"),
        ("a@fa\u00df.example", "a@xn--fa-hia.example"),
        ("a@FA\u1e9e.example", "a@xn--fa-hia.example"),
    ],
)
def test_spellings_of_one_address_have_the_same_canonical_form(spelled: str, form: str) -> None:
    assert canonical(spelled) == form


@pytest.mark.parametrize(
    ("name", "look_alike"),
    [
        ("kate", "\u212aate"),
        ("sam", "\u017fam"),
        ("j\u00fcrgen", "J\u00dcRGEN"),
        ("id", "\u0130d"),
        ("strasse", "stra\u00dfe"),
    ],
)
def test_a_lookalike_is_a_different_address(name: str, look_alike: str) -> None:
    assert canonical(f"{look_alike}@corp.example") not in (None, canonical(f"{name}@corp.example"))


@pytest.mark.parametrize(
    "look_alike",
    [
        "cor\u212a1s.example",
        "\u2102ork1s.example",
        "\uff23ork1s.example",
        "cork\u00b9s.example",
        "cork1\u017f.example",
        *(f"co{invisible}rk1s.example" for invisible in "\u200b\u200c\u200d\u00ad\u2060\ufe0f\u180e"),
        *(f"cork1s.example{invisible}" for invisible in "\u200b\u00ad\u2060\ufe0f"),
        "\u0441ork1s.example",
        "cork1s.example..",
        "cork1s..example",
        "xn--cork1s-.example",
    ],
)
def test_a_lookalike_domain_is_a_different_domain(look_alike: str) -> None:
    assert canonical(f"a@{look_alike}") != "a@cork1s.example"


def test_no_character_of_a_domain_becomes_ascii_or_vanishes() -> None:
    dots = {"\u3002", "\uff0e", "\uff61"}
    others = [char for char in map(chr, range(128, sys.maxunicode + 1)) if not "\ud800" <= char <= "\udfff"]
    # NFC and lower() change none of the million private or unassigned characters, so every thousandth is tested below.
    constant = [char for char in others if category(char) in ("Co", "Cn")]
    assert normalize("NFC", "".join(constant)) == "".join(constant) == "".join(constant).lower()
    changeable = [char for char in others if category(char) not in ("Co", "Cn")]
    assert len(constant) > 900_000
    assert len(changeable) > 100_000
    for chars in batched((char for char in changeable + constant[::1000] if char not in dots), 100, strict=False):
        name, _, domain = (canonical("a@" + ".".join(f"b{char}c" for char in chars)) or "").partition("@")
        assert name == "a"
        for char, label in zip(chars, domain.split("."), strict=True):
            assert label.startswith("xn--"), ascii(char)
    assert {canonical(f"a@b{dot}c.d") for dot in dots} == {"a@b.c.d"}


@pytest.mark.parametrize(
    "label",
    [
        "b\u00fccher",
        "fa\u00df",
        "\u4f8b\u3048",
        "\u03b2\u03cc\u03bb\u03bf\u03c2",
        "\u043f\u0440\u0438\u043c\u0435\u0440",
    ],
)
def test_a_valid_domain_is_encoded_as_in_idna_2008(label: str) -> None:
    assert canonical(f"a@{label}.example") == f"a@{idna.encode(label).decode()}.example"


def test_the_three_characters_that_nfc_would_turn_into_ascii_stay_as_they_are() -> None:
    changing = [
        char
        for char in map(chr, range(128, sys.maxunicode + 1))
        if not "\ud800" <= char <= "\udfff" and normalize("NFC", char).isascii()
    ]

    assert changing == ["\u037e", "\u1fef", "\u212a"]
    for char in changing:
        assert canonical(f"{char}@a.b") == f"{char}@a.b"


@pytest.mark.parametrize("text", [None, "", " ", "u1", "@", "a@", "@b", " @b", "a@ ", "a@.", "a@\u3002"])
def test_an_invalid_address_has_no_canonical_form(text: str | None) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize(
    "domain", ["-\u00fc-", "\u00fc" * 100, "\u00fc..b", "\u200d\u00fc", "xn--\u00fc", "\u2603\U0001fae9"]
)
def test_a_domain_that_idna_refuses_still_has_a_canonical_form(domain: str) -> None:
    assert canonical(f"A@{domain}.X") == canonical(f"a@{domain}.x") is not None


@given(st.text(max_size=30), st.text(max_size=30))
def test_canonical_form_is_idempotent(name: str, domain: str) -> None:
    form = canonical(f"{name}@{domain}")

    assert form is None or canonical(form) == form
