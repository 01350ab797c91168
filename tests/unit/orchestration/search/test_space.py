"""Search spaces: sampled points are valid, conditions hold, mistakes are refused before a search starts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos.config.model_parts import AssignmentConfig
from fcos.config.parse import parse
from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.search import Distribution, SearchConfig, flat_space
from orchestration.search.space import check_space, coordinates, grid_points, point_keys


def space_of(**distributions: dict[str, Any]) -> dict[str, Distribution]:
    return {name.replace("__", "."): parse(Distribution, values) for name, values in distributions.items()}


@given(
    low=st.integers(1, 100),
    extra=st.integers(0, 400),
    count=st.integers(1, 6),
    shares=st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_level_ranges_always_touch_and_rise(low: int, extra: int, count: int, shares: list[float]) -> None:
    high = low + count + extra
    space = space_of(ranges={"ranges": [low, high, count]})
    point = {f"ranges.{index}": low * (high / low) ** shares[index] for index in range(count)}
    sampled = point_keys(space, point)["ranges"]
    ranges = AssignmentConfig(ranges=tuple(map(tuple, sampled))).ranges
    assert len(ranges) == count + 1
    assert ranges[0][0] == 0
    assert ranges[-1][1] is None
    assert low <= ranges[0][1] and ranges[-1][0] <= high  # type: ignore[operator]


def test_a_key_is_set_only_where_its_condition_holds() -> None:
    space = space_of(norm={"choice": ["gn", "bn"]}, groups={"choice": [8, 16], "when": {"norm": "gn"}})
    assert point_keys(space, {"norm": 0, "groups": 1}) == {"norm": "gn", "groups": 16}
    assert point_keys(space, {"norm": 1, "groups": 1}) == {"norm": "bn"}


def test_a_grid_is_every_combination() -> None:
    space = space_of(a={"choice": [None, 1.0]}, b={"choice": [[1], [2], [3]]})
    points = [point_keys(space, point) for point in grid_points(space)]
    assert points[:2] == [{"a": None, "b": [1]}, {"a": None, "b": [2]}]
    assert len(points) == 6


def test_a_grid_needs_choices() -> None:
    with pytest.raises(ConfigError, match=r"space\.lr: loguniform has no grid"):
        list(grid_points(space_of(lr={"loguniform": [0.1, 1.0]})))


def test_coordinates_are_numbers_and_positions() -> None:
    space = space_of(r={"rising": [2, 9, 2]}, n={"randint": [1, 3]}, c={"choice": ["a", "b"]})
    assert coordinates(space) == {
        "r.0": ("loguniform", (2.0, 9.0)),
        "r.1": ("loguniform", (2.0, 9.0)),
        "n": ("randint", (1, 3)),
        "c": ("choice", (0, 1)),
    }


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        ({}, "give exactly one of choice, uniform"),
        ({"uniform": [0.0, 1.0], "choice": [1, 2]}, "given: choice, uniform"),
        ({"choice": [1]}, "needs two values"),
        ({"uniform": [2.0, 1.0]}, "2 must be below 1"),
        ({"loguniform": [0.0, 1.0]}, "0 must be above 0"),
        ({"ranges": [5, 7, 3]}, "3 different whole numbers must fit between 5 and 7"),
        ({"normal": [0, 1]}, "normal"),
    ],
)
def test_an_invalid_distribution_is_refused(distribution: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Distribution, distribution)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"other": 1}, "other is not in the space"),
        ({"b": 1}, "cannot depend on itself"),
        ({"a": 3}, "a=3 is none of its choices"),
        ({"c": 0.5}, "c=0.5 is none of its choices"),
    ],
)
def test_a_condition_names_a_choice_of_the_space(when: dict[str, Any], message: str) -> None:
    space = {"a": {"choice": [1, 2]}, "b": {"choice": [1, 2], "when": when}, "c": {"uniform": [0.0, 1.0]}}
    with pytest.raises(ConfigError, match=message):
        parse(SearchConfig, {"space": space, "trials": 3})


GROUPS = {"choice": [8, 16], "when": {"a.norm": "gn"}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"groups": {"choice": [2, 4]}}, {"choice": [2, 4], "when": {"a.norm": "gn"}}),
        ({"groups": {"randint": [2, 4]}}, {"randint": [2, 4], "when": {"a.norm": "gn"}}),
        ({"groups": {"choice": [2, 4], "when": None}}, {"choice": [2, 4], "when": {}}),
        ({"groups": {"when": {"a": {"norm": "bn"}}}}, {"choice": [8, 16], "when": {"a.norm": "bn"}}),
        ({"groups": {"choice": [2, 4]}, "norm": None}, {"choice": [2, 4], "when": {}}),
    ],
)
def test_a_distribution_of_the_command_line_replaces_the_kind_and_keeps_the_condition(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    space = {"a.norm": {"choice": ["gn", "bn"]}, "a.groups": GROUPS, "a": changes}
    assert flat_space(space)["a.groups"] == expected


def test_a_key_is_taken_out_by_null() -> None:
    assert flat_space({"a.norm": {"choice": [1, 2]}, "b": {"uniform": [0, 1]}, "a": {"norm": None}}) == {
        "b": {"uniform": [0, 1]}
    }


def check(space: dict[str, dict[str, Any]]) -> None:
    check_space(compose([]).training, {key: parse(Distribution, values) for key, values in space.items()})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.head.nrom": {"choice": ["gn", "bn"]}}, r"space\.model\.head\.nrom: no such key.*did you mean model\."),
        ({"seed": {"randint": [0, 9]}}, r"space\.seed: seed: a seed is nothing that an arm or a search may choose"),
        ({"seeds.order": {"randint": [0, 9]}}, r"space\.seeds\.order: seeds\.order: a seed is nothing"),
        ({"data.synthetic": {"choice": [{"seed": 1}, {"seed": 2}]}}, r"data\.synthetic\.seed: a seed is nothing"),
        ({"model.head.norm": {"choice": ["gn", "ln"]}}, r"space\.model\.head\.norm: model\.head\.norm='ln'"),
        ({"schedule.steps": {"uniform": [100.5, 300.0]}}, r"schedule\.steps=100\.5"),
        ({"schedule.lr": {"uniform": [-1.0, 1.0]}}, r"schedule\.lr=-1\.0"),
        ({"model.loss.focal_alpha": {"uniform": [0.5, 1.5]}}, r"focal_alpha=1\.5"),
        ({"schedule.log_every": {"randint": [1, 9]}}, r"space\.schedule\.log_every: has no effect on a result"),
        ({"data.num_workers": {"choice": [0, 2]}}, "resolve to the same config"),
        ({"model.head": {"choice": [1, 2]}}, r"space\.model\.head"),
        (
            {
                "model.head.norm": {"choice": ["gn", "bn"], "when": {"model.head.quality": "iou"}},
                "model.head.quality": {"choice": ["iou", "none"], "when": {"model.head.norm": "gn"}},
            },
            "can never hold",
        ),
    ],
)
def test_a_key_that_cannot_be_searched_is_refused(space: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(space)


def test_a_key_is_tried_with_its_condition() -> None:
    groups = {"choice": [4, 8], "when": {"model.head.quality": "iou"}}
    # The condition's own value is one that the schema refuses together with those of the key.
    wrong = {"choice": [4, 8], "when": {"model.head.quality": "sharpness"}}
    check({"model.head.quality": {"choice": ["iou", "none"]}, "model.head.gn_groups": groups})
    with pytest.raises(ConfigError, match=r"space\.model\.head\.gn_groups: model\.head\.quality='sharpness'"):
        check({"model.head.gn_groups": wrong, "model.head.quality": {"choice": ["iou", "none"]}})


def test_values_that_only_a_joint_rule_refuses_are_accepted() -> None:
    # Three ranges do not fit the four levels that are set; with other levels they would.
    check(
        {
            "model.levels": {"choice": [[3, 4, 5], [3, 4, 5, 6]]},
            "model.assignment.ranges": {"ranges": [16, 128, 2]},
        }
    )
