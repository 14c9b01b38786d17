"""`make run` refuses local data of another format, and says how to start without that data."""

from pathlib import Path

import pytest

from local import data_format
from local.steps import Refused


def test_data_without_a_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dynamodb.json").write_text("{}")

    with pytest.raises(Refused, match="FRESH=1"):
        data_format.require(tmp_path)


def test_data_of_another_format_is_refused(tmp_path: Path) -> None:
    data_format.require(tmp_path)
    (tmp_path / "data-format").write_text("0")

    with pytest.raises(Refused, match="FRESH=1"):
        data_format.require(tmp_path)


def test_data_of_this_format_and_an_empty_folder_are_accepted(tmp_path: Path) -> None:
    new = tmp_path / "new"

    data_format.require(new)
    (new / "dynamodb.json").write_text("{}")
    data_format.require(new)

    assert (new / "data-format").read_text() == data_format.DATA_FORMAT
