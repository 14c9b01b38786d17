"""Addresses are compared in one form, which makes different spellings equal and never two addresses one."""

import sys
from unicodedata import normalize

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
        ("a@\uff23orp.example", "a@corp.example"),
        ("a@corp\u3002example", "a@corp.example"),
        ("a@b@c.d", "a@b@c.d"),
        ("a b@c", "a b@c"),
    ],
)
def test_spellings_of_one_address_have_one_form(spelled: str, form: str) -> None:
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
def test_a_look_alike_is_another_address(name: str, look_alike: str) -> None:
    assert canonical(f"{look_alike}@corp.example") not in (None, canonical(f"{name}@corp.example"))


def test_only_three_characters_would_become_ascii_by_composition_and_none_does() -> None:
    become = [
        char
        for char in map(chr, range(128, sys.maxunicode + 1))
        if not "\ud800" <= char <= "\udfff" and normalize("NFC", char).isascii()
    ]

    assert become == ["\u037e", "\u1fef", "\u212a"]
    for char in become:
        assert canonical(f"{char}@a.b") == f"{char}@a.b"


@pytest.mark.parametrize("text", [None, "", " ", "u1", "@", "a@", "@b", " @b", "a@ "])
def test_what_is_no_address_has_no_form(text: str | None) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize(
    "domain", ["-\u00fc-", "\u00fc" * 100, "\u00fc..b", "\u200d\u00fc", "xn--\u00fc", "\u2603\U0001fae9"]
)
def test_a_domain_that_idna_refuses_is_compared_by_its_letters(domain: str) -> None:
    assert canonical(f"A@{domain}.X") == canonical(f"a@{domain}.x") is not None


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_form_of_a_form_is_itself(name: str, domain: str) -> None:
    form = canonical(f"{name}@{domain}")

    assert form is None or canonical(form) == form
