"""Suggestions for misspelt words."""

import pytest

from fcos.errors import suggest


@pytest.mark.parametrize(
    ("word", "known", "suggestion"),
    [
        ("centre", ["center", "atss", "simota"], "did you mean center?"),
        ("claims_4", ["claims_1", "claims_2"], "did you mean claims_2 or claims_1?"),
        ("xyz", ["center", "atss"], ""),
        ("center", [], ""),
    ],
)
def test_close_words_are_suggested(word: str, known: list[str], suggestion: str) -> None:
    assert suggest(word, known) == suggestion


def test_at_most_three_words_are_suggested() -> None:
    assert suggest("arm", (f"arm{number}" for number in range(9))).count(" or ") == 2
