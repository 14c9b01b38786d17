"""Reads the file that the variable ISSUERS names, for `make run` and `make check-token`.

The file describes the issuers: the identity providers whose tokens the service accepts (docs/identity.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from accounting.identity.document import InvalidDocument, parse
from local.steps import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping


def from_environment(environ: Mapping[str, str]) -> str:
    """Return the file's text, or an empty text without ISSUERS. Raises Refused for an unreadable or invalid file."""
    name = environ.get("ISSUERS")
    if not name:
        return ""
    try:
        document = Path(name).read_text()
        parse(document)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"ISSUERS names a file that cannot be read: {error}") from error
    except InvalidDocument as error:
        raise Refused(f"ISSUERS names a file that is not a document of issuers: {error}") from error
    return document
