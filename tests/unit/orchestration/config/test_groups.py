"""What an arm may choose from conf/ by name."""

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.groups import expand_presets, presets
from orchestration.config.overrides import check_overrides


def test_only_groups_that_list_all_that_they_change_are_presets() -> None:
    options = presets()
    assert options["conventions"] == ["torchvision", "v1", "v2"]
    assert not {"model", "experiment", "cluster", "data"} & set(options)


def test_a_preset_stands_for_its_keys_and_an_arms_own_keys_come_on_top() -> None:
    arms = expand_presets({"arm": {"coverage": {"rounding": "half_up"}, "conventions": "v1"}, "other": {"a.b": 1}})
    assert arms["arm"]["model.assignment.corners"] == "inclusive"
    assert arms["arm"]["coverage.rounding"] == "half_up"
    assert arms["other"] == {"a.b": 1}


def test_a_misspelt_preset_names_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"experiment\.arms\.arm\.conventions=v3: no such conventions.*v2 or v1"):
        expand_presets({"arm": {"conventions": "v3"}})


def test_conventions_hold_for_a_whole_run() -> None:
    lab = compose(check_overrides(["conventions=v1"]))
    assert lab.model.assignment.corners == "inclusive"
    assert lab.coverage.anchors == "maskrcnn_benchmark"
