"""Two JSON values, number by number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.verification.differences import compare_json, measure_difference

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=JSON)
def test_a_value_is_the_same_as_itself(value: object) -> None:
    compared = compare_json(value, value)
    assert compared.differences == () and compared.rounded == 0


@pytest.mark.parametrize(
    ("stored", "again", "path"),
    [
        ({"a": [1, {"b": 0.5}]}, {"a": [1, {"b": 0.6}]}, "$.a[1].b: is 0.5, computed again 0.6"),
        ({"a": 1}, {"a": 2}, "$.a: is 1, computed again 2"),
        ({"a": 1}, {}, "$.a: is 1, computed again missing"),
        ({}, {"a b": 1}, '$["a b"]: is missing, computed again 1'),
        ([1], [1, 2], "$[1]: is missing, computed again 2"),
        ({"a": None}, {"a": 0.0}, "$.a: is null, computed again 0.0"),
        ({"a": True}, {"a": 1}, "$.a: is true, computed again 1"),
        ({"a": "x"}, {"a": "y"}, '$.a: is "x", computed again "y"'),
        ({"a": [1]}, {"a": {"b": 1}}, '$.a: is [1], computed again {"b": 1}'),
    ],
)
def test_what_differs_is_named_by_its_path(stored: object, again: object, path: str) -> None:
    assert compare_json(stored, again).differences == (path,)


def test_numbers_that_differ_by_rounding_are_counted_and_are_the_same() -> None:
    compared = compare_json([0.1 + 0.2, 1.0, 5], [0.3, 1.0, 5])
    assert (compared.numbers, compared.rounded, compared.differences) == (3, 1, ())
    assert 0 < compared.largest < 1e-15


def test_the_difference_of_numbers_is_relative_and_nan_is_nan() -> None:
    assert measure_difference(math.nan, math.nan) == 0
    assert measure_difference(math.inf, math.inf) == 0
    assert measure_difference(math.nan, 1.0) == math.inf
    assert measure_difference(2.0, 1.0) == 0.5
    assert measure_difference(0.0, 0.0) == 0


def test_whole_numbers_beyond_every_float_differ_without_an_error() -> None:
    assert measure_difference(10**400, 1.0) == math.inf
    assert compare_json({"a": 10**400}, {"a": 0.5}).differences
    assert compare_json({"a": 10**400}, {"a": 10**400}).differences == ()
