"""How long an operation's name may be. The limit is higher for chat services, whose operations are ids of models."""

import pytest
from pydantic import ValidationError

from functions.usage.app import Record


def record(service: str, length: int) -> Record:
    return Record.model_validate({"service": service, "operation": "m" * length, "credits": 1})


@pytest.mark.parametrize(("service", "length"), [("images", 100), ("chat", 101), ("chat", 256), ("chat_proxy", 256)])
def test_valid_names_are_accepted(service: str, length: int) -> None:
    assert record(service, length).operation == "m" * length


@pytest.mark.parametrize(("service", "length"), [("images", 101), ("chat", 257)])
def test_invalid_names_are_refused(service: str, length: int) -> None:
    with pytest.raises(ValidationError, match="operation"):
        record(service, length)


@pytest.mark.parametrize(
    ("service", "operation"), [("漢" * 16, "漢" * 33), ("chat" + "é" * 23, "漢" * 85), ("é" * 25, "é" * 50)]
)
def test_the_length_of_names_is_counted_in_bytes_of_utf_8(service: str, operation: str) -> None:
    Record.model_validate({"service": service, "operation": operation, "credits": 1})

    for longer in ((service + "漢", operation), (service, operation + "漢")):
        with pytest.raises(ValidationError, match="bytes of UTF-8"):
            Record.model_validate({"service": longer[0], "operation": longer[1], "credits": 1})
