"""The characters that are allowed in a text of one line (``is_plain``) and of several lines (``is_lines``)."""

import pytest

from accounting.domain.texts import is_lines, is_plain


@pytest.mark.parametrize("text", ["", "Ann", "Zoë Ōé", "全角\u3000", "a\u200db", "\U0001f9d1\u200d\U0001f680"])
def test_letters_blanks_joiners_and_emoji_are_accepted(text: str) -> None:
    assert is_plain(text)
    assert is_lines(text)


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\r\n"])
def test_tabs_and_line_breaks_are_accepted_only_in_texts_of_several_lines(text: str) -> None:
    assert is_lines(text)
    assert not is_plain(text)


@pytest.mark.parametrize("text", ["\x00", "a\x0b", "\x1f", "\x7f", "\x85", "\x9f", "\ud800", "a\udfff"])
def test_other_control_characters_and_half_surrogate_pairs_are_refused(text: str) -> None:
    assert not is_plain(text)
    assert not is_lines(text)
