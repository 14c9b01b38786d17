"""The characters that are allowed in texts such as names and notes: all but two kinds.

People use full-width and no-break spaces, joiners, and emoji that are newer than this service. Only two things are
refused: what Unicode calls a control character (Cc), and half of a surrogate pair, which cannot be stored.
"""

import re

CONTROL_CHARACTERS = r"\u0000-\u001f\u007f-\u009f"
CONTROL_CHARACTERS_OF_LINES = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
"""The control characters except tab, line feed and carriage return."""

SURROGATES = r"\ud800-\udfff"

_PLAIN = re.compile(rf"[^{CONTROL_CHARACTERS}{SURROGATES}]*")
_LINES = re.compile(rf"[^{CONTROL_CHARACTERS_OF_LINES}{SURROGATES}]*")


def is_plain(text: str) -> bool:
    """Whether the text has no control character and no half of a surrogate pair."""
    return _PLAIN.fullmatch(text) is not None


def is_lines(text: str) -> bool:
    """Like ``is_plain``, but line breaks and tabs are allowed."""
    return _LINES.fullmatch(text) is not None
