"""E-mail addresses in the one form in which they are compared and stored as keys. Imports nothing of ours.

The form is trimmed, in NFC, with ASCII letters in lower case, and its domain is in IDNA form. No other letter changes:
``str.lower`` would turn the Kelvin sign into a ``k``, and so one address into somebody else's.
"""

import re
from unicodedata import normalize

_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_BECOMES_ASCII = re.compile("([\u212a\u037e\u1fef])")
"""The only characters that NFC turns into ASCII ones: the Kelvin sign, the Greek question mark and the Greek varia."""


def canonical(text: str | None) -> str | None:
    """The address in the form in which two spellings of it are equal; None if the text is no address.

    A domain that IDNA refuses is compared by its letters: it still belongs to somebody.
    """
    name, at, domain = _composed((text or "").strip()).rpartition("@")
    if not (name and at and domain):
        return None
    return f"{name}@{domain if domain.isascii() else _idna(domain)}"


def _composed(text: str) -> str:
    parts = (part if _BECOMES_ASCII.fullmatch(part) else normalize("NFC", part) for part in _BECOMES_ASCII.split(text))
    return "".join(parts).translate(_ASCII_LOWER)


def _idna(domain: str) -> str:
    import idna  # here, because few domains need it and every function would load its tables

    try:
        return idna.encode(domain, uts46=True).decode().translate(_ASCII_LOWER)
    except (idna.IDNAError, UnicodeError):
        return domain
