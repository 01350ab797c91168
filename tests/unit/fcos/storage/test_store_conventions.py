"""Params of runs are read as they were written, those of earlier versions too."""

from typing import Any

import pytest

from fcos.storage.store_conventions import param_text, parse_param


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("gn", "gn"),
        (0.01, "0.01"),
        (None, "null"),
        ([[0, 32], [32, None]], "[[0, 32], [32, null]]"),
        (True, "true"),
    ],
)
def test_a_param_is_read_as_it_was_written(value: Any, text: str) -> None:
    assert param_text(value) == text
    assert parse_param(text) == value


def test_params_of_earlier_versions_are_read_as_python_wrote_them() -> None:
    assert [parse_param(text) for text in ("None", "True", "False")] == [None, True, False]


def test_text_that_nests_too_deeply_stays_text() -> None:
    assert parse_param("[" * 100_000) == "[" * 100_000
