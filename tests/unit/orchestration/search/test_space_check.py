"""A search space is checked against the schema before a search starts."""

from typing import Any

import pytest

from fcos.config.parse import parse
from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.search import Distribution
from orchestration.search.space import check_space


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
