"""Whether the local data is in the format that the service stores now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.steps import Refused

if TYPE_CHECKING:
    from pathlib import Path

DATA_FORMAT = "6"
"""Increase this number with every change of a stored format. Before 1.0, no version reads older formats."""


def require(state: Path) -> None:
    """Raise Refused if the folder has data in another format. Otherwise note the format in the folder."""
    note = state / "data-format"
    has_data = state.exists() and any(state.iterdir())
    if has_data and not (note.exists() and note.read_text() == DATA_FORMAT):
        raise Refused(
            "the data of an earlier `make run` is in a format that this version does not read:"
            " `FRESH=1 make run` starts without that data"
        )
    state.mkdir(parents=True, exist_ok=True)
    note.write_text(DATA_FORMAT)
