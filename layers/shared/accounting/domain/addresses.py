"""The canonical form of e-mail addresses, in which they are compared and stored as keys.

It has no blanks at its ends, and its ASCII letters are in lower case. It is in NFC (composed Unicode), but characters
that NFC would turn into ASCII stay as they are. All letters of the domain are in lower case. ASCII dots separate its
labels, and it does not end with a dot. Labels that are not ASCII are encoded as punycode, as IDNA2008 does for a valid
domain. Nothing else is replaced or dropped, so that no address becomes somebody else's. For example, ``str.lower`` and
UTS 46 would turn the Kelvin sign into a ``k``. Here, it stays as it is.
"""

import re
from unicodedata import normalize

_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_BECOMES_ASCII = re.compile("([\u212a\u037e\u1fef])")
"""The only characters that NFC turns into ASCII ones: the Kelvin sign, the Greek question mark and the Greek varia."""
_OTHER_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")
"""The dots that IDNA treats as a full stop between labels."""
_LAST_DOT = re.compile(r"(?<=[^.\s])\.\Z")


def canonical(text: str | None) -> str | None:
    """The canonical form of an address, or None if the text is not an address."""
    name, at, domain = _composed((text or "").strip()).rpartition("@")
    if not domain.isascii():
        domain = _composed("".join(map(_lower, domain))).translate(_OTHER_DOTS)
        domain = ".".join(map(_encoded, domain.split(".")))
    if not (name and at and domain.strip(".")):
        return None
    return f"{name}@{_LAST_DOT.sub('', domain)}"


def _composed(text: str) -> str:
    parts = (part if _BECOMES_ASCII.fullmatch(part) else normalize("NFC", part) for part in _BECOMES_ASCII.split(text))
    return "".join(parts).translate(_ASCII_LOWER)


def _lower(char: str) -> str:
    """The character in lower case, or unchanged if its lower case has another length or is ASCII."""
    lower = char.lower()
    return lower if len(lower) == 1 and not lower.isascii() else char


def _encoded(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
