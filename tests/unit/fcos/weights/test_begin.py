"""A training begins from a trained detector: tensors of the same place, classes of the same name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse, set_value
from fcos.errors import ConfigError
from fcos.model.detector import FCOS
from fcos.storage import checkpoint_folder
from fcos.training import checkpoint
from fcos.weights.begin import begin_from_weights, find_source

CLASSES = ("disc", "ring", "cross")


@pytest.fixture
def model_values(tiny_values: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = tiny_values["model"]
    return values


def detector_of(values: dict[str, Any], count: int, seed: int) -> FCOS:
    torch.manual_seed(seed)
    return build_detector(parse(ModelConfig, values), count, channels_last=False)


@pytest.fixture
def trained(model_values: dict[str, Any], tmp_path: Path) -> Callable[..., tuple[Path, FCOS]]:
    """Writes a checkpoint of a detector with changed settings; returns its run's folder and the detector."""

    def write(changes: dict[str, Any] | None = None, ema: nn.Module | None = None) -> tuple[Path, FCOS]:
        values = model_values
        for key, value in (changes or {}).items():
            values = set_value(values, key, value)
        detector = detector_of(values, len(CLASSES), seed=1)
        folder = tmp_path / "run"
        config = {"model": values, "schedule": {"ema": None if ema is None else 0.9}}
        averages = {} if ema is None else {0.9: ema}
        checkpoint.save(
            folder / "checkpoints",
            step=3,
            config=config,
            classes=CLASSES,
            model=detector,
            averages=averages,
            state={},
        )
        return folder, detector

    return write


def begin(values: dict[str, Any], folder: Path, classes: tuple[str, ...]) -> tuple[FCOS, tuple[str, ...]]:
    values = set_value(values, "weights", str(folder))
    detector = detector_of(values, len(classes), seed=2)
    return detector, begin_from_weights(detector, parse(ModelConfig, values), classes)


def test_the_same_detector_and_classes_begin_where_the_other_ended(model_values, trained) -> None:
    folder, source = trained()
    detector, notes = begin(model_values, folder, CLASSES)
    assert notes == ()
    for name, value in source.state_dict().items():
        assert torch.equal(detector.state_dict()[name], value), name


def test_rows_of_the_classification_layer_follow_the_names(model_values, trained) -> None:
    folder, source = trained()
    classes = ("star", "cross", "disc")
    detector, (note,) = begin(model_values, folder, classes)
    fresh = detector_of(model_values, 3, seed=2).state_dict()
    for name in ("head.classification.weight", "head.classification.bias"):
        ours, theirs = detector.state_dict()[name], source.state_dict()[name]
        assert torch.equal(ours[1], theirs[2]) and torch.equal(ours[2], theirs[0])
        assert torch.equal(ours[0], fresh[name][0])
    assert "2 of 3 classes are known there; new: star" in note


def test_every_prediction_of_a_location_has_its_rows(model_values, trained) -> None:
    folder, source = trained({"targets_per_location": 2})
    detector, _ = begin(set_value(model_values, "targets_per_location", 2), folder, ("ring", "other"))
    ours, theirs = (each.state_dict()["head.classification.weight"] for each in (detector, source))
    assert torch.equal(ours[0], theirs[1]) and torch.equal(ours[2], theirs[4])


def test_no_common_class_leaves_the_classification_layer_new(model_values, trained) -> None:
    folder, source = trained()
    detector, (note,) = begin(model_values, folder, ("dog",))
    fresh = detector_of(model_values, 1, seed=2).state_dict()
    assert torch.equal(detector.state_dict()["head.classification.weight"], fresh["head.classification.weight"])
    assert torch.equal(detector.state_dict()["head.regression.weight"], source.state_dict()["head.regression.weight"])
    assert "0 of 1 classes are known there; new: dog" in note


def test_the_moving_average_is_what_is_taken(model_values, trained) -> None:
    average = detector_of(model_values, len(CLASSES), seed=3)
    folder, _ = trained(ema=average)
    detector, _ = begin(model_values, folder, CLASSES)
    assert torch.equal(detector.state_dict()["head.regression.weight"], average.state_dict()["head.regression.weight"])


def test_parts_that_differ_are_named(model_values, trained) -> None:
    folder, _ = trained({"head.num_convs": 2, "head.quality": "none", "postprocess.quality": "none"})
    _, notes = begin(set_value(model_values, "head.regression", "relu"), folder, CLASSES)
    text = "\n".join(notes)
    assert "2 tensors are not in it and start new: head.quality.weight, head.quality.bias" in text
    assert "of its tensors have no place here: head.classification_tower.convs.1." in text
    assert "model.head.regression is exp there and relu here" in text


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"fpn.channels": 32}, "model.fpn.channels=32"),
        ({"backbone.name": "resnet18"}, "model.backbone.name=resnet18"),
        ({"backbone.widths": [16, 16, 16, 16, 32]}, r"model\.backbone\.widths=\[16,16,16,16,32\]"),
        ({"pixel_mean": [0.5, 0.5, 0.5]}, r"model\.pixel_mean=\[0\.5,0\.5,0\.5\]"),
    ],
)
def test_another_detector_is_refused_with_the_setting_to_take(
    model_values, trained, changes: dict[str, Any], setting: str
) -> None:
    folder, _ = trained(changes)
    with pytest.raises(ConfigError, match=rf"model\.weights=.*is of another detector: .*give .*{setting}"):
        begin(model_values, folder, CLASSES)


def test_a_folder_stands_for_its_newest_checkpoint_and_its_digest(trained) -> None:
    folder, _ = trained()
    source = find_source(str(folder))
    assert source.path == folder / "checkpoints" / "step_00000003"
    assert source.sha256 == checkpoint_folder.digest(source.path)


def test_other_content_than_planned_is_refused(model_values, trained) -> None:
    folder, _ = trained()
    with pytest.raises(ConfigError, match=r"holds other weights .* than those of the plan \(abc\)"):
        begin(set_value(model_values, "weights_sha256", "abc"), folder, CLASSES)


def test_a_missing_folder_is_refused_with_its_key(model_values, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.weights=.*none: no such folder or file"):
        begin(model_values, tmp_path / "none", CLASSES)
