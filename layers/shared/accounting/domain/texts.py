"""The characters that are refused in texts such as names and notes.

They are control characters (Unicode's category Cc), and half of a surrogate pair, which cannot be stored. All others
are allowed, because people use full-width spaces, joiners and new emoji.
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
