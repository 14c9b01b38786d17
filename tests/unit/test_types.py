"""The field types of requests refuse invalid values."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accounting.web import types

INVALID_NUMBERS: list[Any] = [None, True, False, "1", "", 1.0, 1.5, float("nan"), float("inf"), 1e300, [1], {}, [], -1]

RANGES: list[tuple[Any, int, int]] = [
    (types.Credits, 1, 10**12),
    (types.CreditsOrZero, 0, 10**12),
    (types.Tokens, 0, 10**9),
    (types.EstimatedTokens, 1, 10**9),
    (types.ExpiryDays, 1, 3650),
]


def accepts(kind: Any, value: Any) -> bool:
    try:
        return bool(TypeAdapter(kind).validate_python(value) == value)
    except ValidationError:
        return False


@pytest.mark.parametrize(("kind", "least", "most"), RANGES)
def test_a_number_must_be_an_integer_in_its_range(kind: Any, least: int, most: int) -> None:
    assert accepts(kind, least)
    assert accepts(kind, most)
    assert not accepts(kind, least - 1)
    assert not accepts(kind, most + 1)
    assert not accepts(kind, 10**300)
    assert [value for value in INVALID_NUMBERS if accepts(kind, value)] == []


def test_an_adjustment_may_be_positive_or_negative() -> None:
    assert accepts(types.Adjustment, -(10**12))
    assert accepts(types.Adjustment, 10**12)
    assert not accepts(types.Adjustment, -(10**12) - 1)
    assert not accepts(types.Adjustment, 10**12 + 1)
    assert not accepts(types.Adjustment, 1.0)


@pytest.mark.parametrize("text", ["a", "a" * 100, "anthropic.claude-3:0", "A/b@c+d_e", "0"])
def test_valid_identifiers_are_accepted(text: str) -> None:
    assert accepts(types.Identifier, text)


@pytest.mark.parametrize(
    "value",
    ["", "a" * 101, "a b", "a#b", "a\n", "ä", "a\x00", "__proto__", "constructor", "prototype", None, 1, True, ["a"]],
)
def test_invalid_identifiers_are_refused(value: Any) -> None:
    assert not accepts(types.Identifier, value)


@pytest.mark.parametrize("value", ["", "a" * 255, "a\nb", "\x00", "a\x85", "\ud800", None, 7, True, ["u"]])
def test_invalid_references_to_users_are_refused(value: Any) -> None:
    assert not accepts(types.UserReference, value)


@pytest.mark.parametrize(
    "value", ["u1", "someone@example.com", "someone%40example.com", "Jürgen", "a b", "\u3000", "a\u200db", "\U0001fae9"]
)
def test_valid_references_to_users_are_accepted(value: str) -> None:
    assert accepts(types.UserReference, value)


def test_notes_have_at_most_a_thousand_characters() -> None:
    assert accepts(types.Notes, "ä" * 1000)
    assert not accepts(types.Notes, "a" * 1001)
    assert not accepts(types.Notes, 5)


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\tb", "\u2028", "\u202e", "\U0001fae9"])
def test_notes_may_have_line_breaks_tabs_direction_marks_and_new_emoji(text: str) -> None:
    assert accepts(types.Notes, text)


@pytest.mark.parametrize("text", ["\x00", "\x1b[2J", "\x0b", "\x7f", "\x85", "\ud83d"])
def test_notes_cannot_have_half_a_surrogate_pair_or_control_characters_except_tabs_and_line_breaks(text: str) -> None:
    assert not accepts(types.Notes, text)


@pytest.mark.parametrize("name", ["all", "me", "sync", "__proto__"])
def test_reserved_names_are_refused_as_user_ids(name: str) -> None:
    assert not accepts(types.UserId, name)
    assert accepts(types.UserId, name.upper())


def test_a_flag_must_be_a_boolean() -> None:
    assert accepts(types.StrictFlag, False)
    assert [value for value in (None, 0, 1, "true", "false", "") if accepts(types.StrictFlag, value)] == []


class Model(types.RequestModel):
    """A request with one field."""

    session_id: types.Identifier


def test_a_request_model_requires_camel_case_and_refuses_unknown_fields() -> None:
    assert Model.model_validate({"sessionId": "s"}).session_id == "s"
    for wrong in ({"session_id": "s"}, {"sessionId": "s", "other": 1}, {"sessionId": "s", "SessionId": "s"}):
        with pytest.raises(ValidationError):
            Model.model_validate(wrong)


def test_unknown_fields_are_ignored_by_a_question_model_but_kept_by_a_report_model() -> None:
    class Question(types.QuestionModel):
        session_id: str

    class Report(types.ReportModel):
        session_id: str

    sent = {"sessionId": "s", "other": 1}
    assert Question.model_validate(sent) == Question.model_validate({"sessionId": "s"})
    assert Report.model_validate(sent).model_extra == {"other": 1}


class View(types.ResponseModel):
    """A response with an optional field."""

    total_credits: int
    next_cursor: str | None = types.left_out()


def test_a_response_leaves_out_fields_without_a_value() -> None:
    assert View(total_credits=1).model_dump(by_alias=True) == {"totalCredits": 1}
    assert View(total_credits=1, next_cursor="c").model_dump(by_alias=True) == {"totalCredits": 1, "nextCursor": "c"}


@pytest.mark.parametrize("text", ["2027-01-15", "2027-01-15T08:00:00Z", "2027-01-15t08:00:00.5z"])
def test_a_timestamp_is_a_date_or_a_date_time(text: str) -> None:
    assert accepts(types.Timestamp, text)
    assert accepts(types.TimestampInPath, text)


@pytest.mark.parametrize("text", ["20271231", "2027-W10-1", "2027-12-31T00:00:00,5Z", "1969-12-31", "x" * 41, 5, None])
def test_invalid_timestamps_are_refused(text: Any) -> None:
    assert not accepts(types.Timestamp, text)


def test_percent_encoded_timestamps_are_decoded_only_in_paths() -> None:
    in_path: Any = types.TimestampInPath

    assert not accepts(types.Timestamp, "2027%2D12%2D31")
    assert TypeAdapter(in_path).validate_python("2027-12-31T00%3A00%3A00Z") == "2027-12-31T00:00:00Z"
