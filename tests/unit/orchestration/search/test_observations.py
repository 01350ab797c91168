"""Finished trainings as points of a search's space: which are points, and which are outside."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos.config.parse import parse
from orchestration.config.search import Distribution
from orchestration.search.observations import OutsideError, point_of
from orchestration.search.space import coordinates, point_keys

SPACE = {
    key: parse(Distribution, values)
    for key, values in dict[str, dict[str, Any]](
        {
            "norm": {"choice": ["gn", "bn"]},
            "groups": {"choice": [4, 8], "when": {"norm": "gn"}},
            "rate": {"loguniform": [0.002, 0.05]},
            "weight": {"uniform": [0.5, 2.0]},
            "depth": {"randint": [1, 4]},
            "ranges": {"ranges": [16, 128, 3]},
            "scales": {"rising": [16, 128, 2]},
        }
    ).items()
}
BASE = {
    "norm": "gn",
    "groups": 8,
    "rate": 0.01,
    "weight": 1.0,
    "depth": 2,
    "ranges": [[0, 32], [32, 64], [64, 100], [100, None]],
    "scales": [32, 64],
}


def test_the_starting_point_is_a_point_of_its_space() -> None:
    point = point_of(SPACE, BASE, BASE)
    assert point_keys(SPACE, point) == BASE
    assert point.keys() == coordinates(SPACE).keys()


def test_a_key_without_effect_is_as_in_the_starting_point() -> None:
    assert "groups" not in point_keys(SPACE, point_of(SPACE, {**BASE, "norm": "bn"}, BASE))
    with pytest.raises(OutsideError, match="groups=4"):
        point_of(SPACE, {**BASE, "norm": "bn", "groups": 4}, BASE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("norm", "sync_bn"),
        ("groups", 16),
        ("rate", 0.06),
        ("weight", None),
        ("depth", 2.5),
        ("depth", 5),
        ("ranges", [[0, 32], [32, 64], [64, 200], [200, None]]),
        ("ranges", [[0, 32], [33, 64], [64, 100], [100, None]]),
        ("ranges", None),
        ("scales", [64, 32]),
        ("scales", [32, 64, 100]),
    ],
)
def test_a_value_that_the_space_does_not_hold_is_outside(key: str, value: Any) -> None:
    with pytest.raises(OutsideError, match=key):
        point_of(SPACE, {**BASE, key: value}, BASE)


def test_a_key_that_a_training_does_not_have_is_outside() -> None:
    with pytest.raises(OutsideError, match="rate=None"):
        point_of(SPACE, {key: value for key, value in BASE.items() if key != "rate"}, BASE)


@given(st.data())
def test_every_drawn_point_comes_back_with_the_same_keys(data: st.DataObject) -> None:
    point: dict[str, Any] = {}
    for name, (kind, bounds) in coordinates(SPACE).items():
        if kind == "choice":
            point[name] = data.draw(st.sampled_from(bounds))
        elif kind == "randint":
            point[name] = data.draw(st.integers(*bounds))
        else:
            point[name] = data.draw(st.floats(*bounds))
    keys = point_keys(SPACE, point)
    assert point_keys(SPACE, point_of(SPACE, {**BASE, **keys}, BASE)) == keys
