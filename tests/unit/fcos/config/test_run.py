"""What the schema refuses, and its messages."""

import math
from typing import Any

import pytest

from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schedule.batch_size", True, "schedule.batch_size=True: input should be a valid integer"),
        ("schedule.steps", "10", "schedule.steps='10': input should be a valid integer"),
        ("schedule.lr", math.inf, "schedule.lr=inf: input should be a finite number"),
        ("schedule.stepss", 3, "schedule.stepss=3: no such key; did you mean steps"),
        ("model.head.nrm", "gn", "model.head.nrm='gn': no such key; did you mean norm"),
        ("model.head.norm", "ln", "model.head.norm='ln': input should be 'gn', 'bn'"),
        ("model.levels", [3, 5], "must be consecutive"),
        ("model.levels", [3, 4, 5], "has 4 ranges for 3 levels"),
        ("model.assignment.ranges", [[0, 32], [40, 64], [64, 128], [128, None]], "ranges 0 and 1 leave a gap"),
        ("model.assignment.ranges", [[0, 32], [24, 64], [64, 128], [128, None]], "ranges 0 and 1 overlap"),
        ("model.assignment.ranges", [[0, 0], [0, 64], [64, 128], [128, None]], "is empty"),
        ("model.backbone.widths", [8, 16, 16, 16, 16], "every width must be at least 16"),
        ("model.backbone.name", "resnet5", "model.backbone.name=resnet5: no such backbone; did you mean resnet50"),
        ("model.backbone.name", "timm/", "model.backbone.name=timm/: no such backbone"),
        ("model.backbone.norm", "own", "norm=own: is for networks of timm"),
        ("model.backbone.weights", "IMAGENET1K_V1", "small_resnet has no pretrained weights"),
        ("model.backbone", {"name": "timm/x", "norm": "bn", "deformable_stages": 1}, "only torchvision's ResNets"),
        ("schedule.backbone_lr_factor", 0, "schedule.backbone_lr_factor=0: input should be greater than 0"),
        ("model.head.quality", "none", "postprocess.quality=branch needs a branch"),
        ("model.head.gn_groups", 7, "does not divide fpn.channels"),
        ("model.head", {"norm": "bn_per_level", "across_levels": "separate"}, "every norm belongs to one level"),
        ("schedule.warmup_steps", 1000, "must be less than steps"),
        ("schedule.decay", "step", "needs milestones"),
        ("schedule.milestones", [1], "have no effect with decay=cosine"),
        ("schedule.accumulate", 3, "accumulate=3 does not divide batch_size=8"),
        ("data.root", "/data", "have no effect on drawn shapes"),
        ("data.short_sides", [64], "go together"),
        ("data.augmentation.scale_jitter", [1.5, 0.5], "scale_jitter=[1.5, 0.5]: must rise"),
        ("data.augmentation.scale_jitter", [0.0, 1.0], "from a factor above 0"),
        ("data.augmentation.mosaic", 1.5, "data.augmentation.mosaic=1.5: input should be less than or equal to 1"),
        ("data.augmentation.mosaik", 0.5, "did you mean mosaic"),
        ("seed.more", 1, "seed is a value, not a section"),
    ],
)
def test_errors_name_key_value_and_rule(tiny_values: dict[str, Any], key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Config, set_value(tiny_values, key, value))
    assert message in str(caught.value)


def test_an_infinite_upper_end_becomes_none(tiny_values: dict[str, Any]) -> None:
    ranges = [[0, 32], [32, 64], [64, 128], [128, math.inf]]
    config = parse(Config, set_value(tiny_values, "model.assignment.ranges", ranges))
    assert config.model.assignment.ranges[-1] == (128, None)


def test_a_config_survives_dumping_and_parsing(tiny_values: dict[str, Any]) -> None:
    config = parse(Config, tiny_values)
    assert parse(Config, config.model_dump(mode="json")) == config


def test_set_value_does_not_change_the_original(tiny_values: dict[str, Any]) -> None:
    changed = set_value(tiny_values, "model.head.num_convs", 3)
    assert (tiny_values["model"]["head"]["num_convs"], changed["model"]["head"]["num_convs"]) == (1, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.anchors_per_location": 9}, "anchors_per_location=9 needs assignment.kind=retinanet"),
        (
            {"model.anchors_per_location": 9, "model.assignment.kind": "retinanet"},
            "anchors_per_location=9 needs head.regression=deltas",
        ),
        (
            {
                "model.anchors_per_location": 9,
                "model.assignment.kind": "retinanet",
                "model.head.regression": "deltas",
                "model.postprocess.suppression": "peaks",
            },
            "looks for one peak at a location",
        ),
        *(
            ({"model.targets_per_location": 2, **changes}, f"targets_per_location=2: {message}")
            for changes, message in (
                ({"model.assignment.kind": "atss"}, "assignment.kind=atss assigns one box to a location"),
                ({"model.head.regression": "deltas"}, "head.regression=deltas would start all predictions"),
                ({"model.postprocess.suppression": "peaks"}, "postprocess.suppression=peaks looks for one peak"),
                ({"model.postprocess.oracle": "box"}, "postprocess.oracle=box uses one box per location"),
                ({"model.postprocess.analyses": ["ambiguous"]}, "postprocess.analyses=[ambiguous] counts detections"),
                ({"task": "coverage"}, "task=coverage counts one box for each location"),
                (
                    {
                        "model.anchors_per_location": 9,
                        "model.assignment.kind": "retinanet",
                        "model.head.regression": "deltas",
                    },
                    "anchors_per_location=9 has a prediction for each anchor already",
                ),
            )
        ),
        ({"model.postprocess.suppression": "set_nms"}, "targets_per_location=1 gives it only one; set it to nms"),
        (
            {
                "model.targets_per_location": 2,
                "model.postprocess.suppression": "set_nms",
                "model.postprocess.nms_over": "all",
            },
            "would keep every class of a prediction",
        ),
        (
            {"model.assignment.kind": "simota", "schedule.accumulate": 2},
            "schedule.accumulate=2: model.assignment.kind=simota assigns by the outputs",
        ),
        (
            {"model.assignment.kind": "atss", "task": "coverage"},
            "model.assignment.kind=atss: task=coverage counts the assignments of kind=fcos and",
        ),
    ],
)
def test_incompatible_settings_are_refused_with_the_reason(
    tiny_values: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    values = tiny_values
    for key, value in changes.items():
        values = set_value(values, key, value)
    with pytest.raises(ConfigError) as caught:
        parse(Config, values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss.regression": "log_l1", "assignment.kind": "retinanet"}, r"log_l1: .*kind=retinanet also has locations"),
        ({"loss.regression": "log_l1", "head.regression": "deltas"}, r"log_l1: .*head\.regression=deltas may predict"),
        ({"postprocess.oracle": "box", "postprocess.tta_flip": True}, r"oracle=box: is about the locations"),
        ({"postprocess.analyses": ["ambiguous"], "postprocess.tta_scales": [0.5]}, r"analyses=\[ambiguous\]: is about"),
        (
            {"postprocess.analyses": ["ambiguous"], "assignment.kind": "atss"},
            r"analyses=\[ambiguous\]: counts the candidate boxes",
        ),
        ({"postprocess.analyses": ["ambiguous"], "assignment.level_rule": "fpn"}, r"analyses=\[ambiguous\]: counts"),
        (
            {"postprocess.oracle": "class", "assignment.tie_break": "random"},
            r"oracle=class: the box of a location .* at random",
        ),
    ],
)
def test_settings_incompatible_with_the_assignment_are_refused(
    tiny_values, changes: dict[str, Any], message: str
) -> None:
    for key, value in changes.items():
        tiny_values = set_value(tiny_values, f"model.{key}", value)
    with pytest.raises(ConfigError, match=message):
        parse(Config, tiny_values)


def test_compatible_oracles_and_augmentations_are_accepted(tiny_values: dict[str, Any]) -> None:
    for changes in (
        {"postprocess.oracle": "box", "assignment.kind": "simota"},
        {"postprocess.analyses": ["ambiguous"], "assignment.kind": "center"},
        {"postprocess.analyses": ["errors"], "postprocess.tta_flip": True},
    ):
        values = tiny_values
        for key, value in changes.items():
            values = set_value(values, f"model.{key}", value)
        parse(Config, values)
