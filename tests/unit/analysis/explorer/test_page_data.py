"""Data of a page cannot end their script element, and lose nothing on the way."""

import json

from hypothesis import given
from hypothesis import strategies as st

from analysis.explorer.page_data import Cell, Row, to_script_json

ATTACKS = ["</script>", "<!--", "<script>", "]]>", "\u2028", "\u2029", "&lt;", "\\", '"', "\x00"]


@given(st.lists(st.one_of(st.sampled_from(ATTACKS), st.text())).map("".join))
def test_hostile_text_is_escaped_and_read_back(text: str) -> None:
    row = Row(label=text, cells=[])
    script = to_script_json(row)
    assert not set("<>&\u2028\u2029") & set(script)
    assert json.loads(script)["label"] == text


def test_numbers_that_are_not_finite_are_null() -> None:
    cell = Cell(values=[float("nan"), float("inf"), 0.123456789], mean=float("-inf"))
    assert json.loads(to_script_json(cell))["values"] == [None, None, 0.123457]
