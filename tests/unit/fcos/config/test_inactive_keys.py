"""Keys that other settings make inactive are refused with the reason."""

from typing import Any

import pytest

from fcos.config.inactive_keys import why_inactive
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.experiment import ExperimentConfig
from orchestration.config.overrides import check_overrides, dotted_keys
from orchestration.experiment.trials import arm_configs
from orchestration.planning.make_plan import make_plan, make_single_plan

CASES = [
    ("model.head.gn_groups", "model.head.norm", "bn"),
    ("model.head.quality_branch", "model.head.quality", "none"),
    ("model.loss.quality_weight", "model.head.quality", "none"),
    ("model.head.quality_branch", "model.head.towers", "shared"),
    ("model.head.norm", "model.head.num_convs", 0),
    ("model.head.conv_bias", "model.head.num_convs", 0),
    ("model.loss.normalizer_floor", "model.loss.normalizer", "local"),
    ("model.assignment.simota_rule", "model.assignment.kind", "fcos"),
    ("model.postprocess.clip", "model.postprocess.suppression", "peaks"),
    ("model.postprocess.nms_corners", "model.postprocess.suppression", "peaks"),
    ("model.postprocess.topk_by", "model.postprocess.quality", "none"),
    ("model.assignment.ranges", "model.assignment.level_rule", "fpn"),
    ("model.assignment.level_rule", "model.assignment.kind", "atss"),
    ("model.assignment.tie_break", "model.assignment.kind", "center"),
    ("model.assignment.positives", "model.assignment.kind", "simota"),
    ("model.assignment.center_sampling_radius", "model.assignment.kind", "retinanet"),
    ("model.assignment.ranges", "model.assignment.kind", "simota"),
    ("model.assignment.candidates_per_level", "model.assignment.kind", "fcos"),
    ("model.assignment.low_quality", "model.assignment.kind", "fcos"),
    ("model.head.divide_by_stride", "model.head.regression", "deltas"),
    ("model.postprocess.nms_threshold", "model.postprocess.suppression", "peaks"),
    ("model.postprocess.score", "model.postprocess.quality", "none"),
    ("schedule.momentum", "schedule.optimizer", "adamw"),
    ("schedule.decay_one_axis", "schedule.weight_decay", 0.0),
    ("schedule.lr_per_16_images", "schedule.lr", 0.1),
    ("schedule.decay_factor", "schedule.decay", "cosine"),
    ("schedule.warmup_factor", "schedule.warmup_steps", 0),
    ("coverage.search_ranges", "task", "train"),
    ("data.augmentation.mosaic", "task", "coverage"),
    ("schedule.steps", "task", "coverage"),
]


def config_with(values: dict[str, Any], key: str, value: Any) -> Config:
    if (key, value) == ("model.head.quality", "none"):
        values = set_value(values, "model.postprocess.quality", "none")
    return parse(Config, set_value(values, key, value))


@pytest.mark.parametrize(("inactive", "key", "value"), CASES)
def test_an_inactive_key_has_a_reason(tiny_values, inactive: str, key: str, value: Any) -> None:
    assert str(why_inactive(config_with(tiny_values, key, value), inactive)).startswith(key)


def test_the_visible_share_needs_an_augmentation_that_crops_or_covers(tiny_values: dict[str, Any]) -> None:
    values = set_value(tiny_values, "data.augmentation.zoom_out", 0.5)
    assert why_inactive(parse(Config, values), "data.augmentation.min_visible") is not None
    values = set_value(values, "data.augmentation.iou_crop", 0.5)
    assert why_inactive(parse(Config, values), "data.augmentation.min_visible") is None


def test_every_rule_names_keys_of_the_schema(tiny_values: dict[str, Any]) -> None:
    keys = dotted_keys(Config)
    for inactive, key, value in CASES:
        assert inactive in keys
        config = config_with(tiny_values, key, value)
        assert any(why_inactive(config, other) is not None for other in keys)


def test_a_whole_detector_brings_its_backbone(tiny_values: dict[str, Any]) -> None:
    config = parse(Config, set_value(tiny_values, "model.weights", "/runs/one"))
    assert why_inactive(config, "model.backbone.weights") == "model.weights, whose backbone is taken"


def test_an_arm_that_sets_an_inactive_key_is_refused(tiny_values: dict[str, Any]) -> None:
    arms = {"a": {}, "b": {"schedule.momentum": 0.5}}
    experiment = parse(ExperimentConfig, {"name": "test", "baseline": "a", "arms": arms, "seeds": [0]})
    with pytest.raises(ConfigError, match=r"arms\.b: schedule\.momentum: has no effect with schedule\.optimizer=adamw"):
        arm_configs(parse(Config, tiny_values), experiment)


def test_a_command_that_sets_an_inactive_key_for_all_arms_is_refused(tmp_path) -> None:
    arguments = ["+experiment=ablation_optimizer", "model.loss.quality_weight=2.0", "schedule.decay_factor=0.5"]
    with pytest.raises(ConfigError, match=r"schedule\.decay_factor: has no effect with schedule\.decay=cosine"):
        make_plan(compose(check_overrides(arguments)), lambda config: ("d", ()), arguments)
    # Two of its arms have momentum.
    arguments = ["+experiment=ablation_optimizer", "schedule.momentum=0.7", "~experiment.arms.sgd_momentum_0_8"]
    make_plan(compose(check_overrides(arguments)), lambda config: ("d", ()), arguments)
    with pytest.raises(ConfigError, match=r"schedule\.momentum: has no effect"):
        make_single_plan(compose(["++schedule.momentum=0.7"]), lambda config: ("d", ()), ["schedule.momentum=0.7"])


def test_cumulative_arms_include_the_changes_of_those_above() -> None:
    lab = compose(check_overrides(["+experiment=ladder_table3"]))
    assert lab.experiment is not None
    arms = lab.experiment.arms
    assert list(arms["nms_0_6"].items()) == [
        ("model.fpn.extra_levels_from", "p5"),
        ("model.postprocess.nms_threshold", 0.6),
    ]
    assert len(arms["targets_in_strides"]) == len(arms) - 1
