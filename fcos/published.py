"""Published detectors: which settings belong to a weights file of torchvision, the official code or detectron2."""

import difflib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

from fcos.checkpoint import Checkpoint, CheckpointError
from fcos.detectron2_weights import from_detectron2
from fcos.official_weights import from_official
from fcos.section import ConfigError
from fcos.torchvision_weights import from_torchvision
from fcos.weight_names import WeightsError

# Red, green, blue of 0..255. Caffe's ResNets were trained on differences to these, in gray levels.
OFFICIAL_MEAN = (122.7717, 115.9465, 102.9801)
DETECTRON2_MEAN = (123.675, 116.28, 103.53)
# Blocks of the fourth stage.
DEPTHS = {6: "resnet50", 23: "resnet101"}

_BASE: Mapping[str, Any] = {
    "levels": [3, 4, 5, 6, 7],
    "backbone": {"name": "resnet50", "norm": "frozen_bn", "weights": None, "frozen_stages": 2},
    "fpn": {"channels": 256, "extra_levels_from": "p5"},
    "head": {"num_convs": 4, "norm": "gn", "regression": "relu", "divide_by_stride": True,
             "quality_branch": "regression"},
    "assignment": {"ranges": [[0, 64], [64, 128], [128, 256], [256, 512], [512, None]], "ends": "open",
                   "center_sampling_radius": 1.5},
    "loss": {"regression": "giou"},
    "postprocess": {"nms_threshold": 0.6},
}  # fmt: skip
_CAFFE: Mapping[str, Any] = {"backbone": {"stride_in_1x1": True}}
# As torchvision and detectron2 do it.
_THRESHOLD_ON_SCORE: Mapping[str, Any] = {
    "head": {"scale_per_level": False},
    "loss": {"weight_by_centerness": False, "normalizer": "local"},
    "postprocess": {"score_threshold": 0.2, "threshold_on": "score"},
}


def _pixels(mean: tuple[float, float, float]) -> dict[str, Any]:
    """Differences to a mean in gray levels, as what is subtracted from and divides 0..1."""
    return {"pixel_mean": [value / 255 for value in mean], "pixel_std": [1 / 255] * 3}


# Name -> what it changes of the base, one after the other.
_CHANGES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "torchvision": (_THRESHOLD_ON_SCORE, {"assignment": {"locations": "torchvision"}}),
    "official": (
        _CAFFE,
        _pixels(OFFICIAL_MEAN),
        {
            "head": {"regression": "exp", "divide_by_stride": False, "quality_branch": "classification"},
            "assignment": {"ends": "closed", "center_sampling_radius": None, "corners": "inclusive"},
            "loss": {"regression": "iou"},
            "postprocess": {"score": "product"},
        },
    ),
    "official_improved": (
        _CAFFE,
        _pixels(OFFICIAL_MEAN),
        {"assignment": {"ends": "closed", "corners": "inclusive"}},
    ),
    "adelaidet": (_CAFFE, _pixels(DETECTRON2_MEAN), {"assignment": {"ends": "closed"}}),
    "detectron2": (_CAFFE, _pixels(DETECTRON2_MEAN), _THRESHOLD_ON_SCORE),
}
MODELS = tuple(_CHANGES)
COCO: Mapping[str, Any] = {
    "name": "coco",
    "train": {"annotations": "annotations/instances_train2017.json", "images": "train2017"},
    "val": {"annotations": "annotations/instances_val2017.json", "images": "val2017"},
    "short_sides": [800],
    "long_side": 1333,
}
# Needed to be whole; nothing of it is used without training.
_SCHEDULE: Mapping[str, Any] = {"batch_size": 16, "steps": 1, "optimizer": "sgd", "decay": "none"}


@dataclass(frozen=True)
class _Read:
    """Weights under our names, and what the file itself says of pixels."""

    weights: dict[str, Tensor]
    pixels: dict[str, Any]


def model_values(name: str) -> dict[str, Any]:
    """The model section of a published detector as plain values; ConfigError with near matches for other names."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(MODELS)}"
        raise ConfigError(f"--model {name}: no such published model; {hint}")
    values = dict(_BASE)
    for changes in _CHANGES[name]:
        for key, value in changes.items():
            values[key] = {**values.get(key, {}), **value} if isinstance(value, Mapping) else value
    return values


def load_published(path: Path, model: str | None) -> Checkpoint:
    """A weights file as a checkpoint of step 0 on COCO 2017, whose data.root is still to be given.

    `model` is one of MODELS; None takes the only one of the file's layout. Classes are COCO's 80. Raises
    CheckpointError for a file that is no such state dict, and ConfigError for a model of another layout.
    """
    state_dict = read_state_dict(path)
    layout = layout_of(state_dict, path)
    fitting = [name for name in MODELS if name.split("_")[0] == layout]
    if model is None and len(fitting) > 1:
        raise ConfigError(
            f"{path}: the names tell the {layout} code, not which model; give --model {' or '.join(fitting)}"
        )
    values = model_values(fitting[0] if model is None else model)
    if model is not None and model not in fitting:
        raise ConfigError(f"--model {model}: {path} has the names of {layout}; it is {' or '.join(fitting)}")
    try:
        read = _convert(state_dict, layout)
    except WeightsError as error:
        raise CheckpointError(f"{path}: {error}") from None
    blocks = sum(key.startswith("backbone.c4.") and key.endswith(".conv1.weight") for key in read.weights)
    if blocks not in DEPTHS:
        raise CheckpointError(f"{path}: its fourth stage has {blocks} blocks; ResNet-50 has 6, ResNet-101 has 23")
    values = {**values, **read.pixels, "backbone": {**values["backbone"], "name": DEPTHS[blocks]}}
    weights, classes = _coco_classes(read.weights, path)
    config = {"model": values, "data": {**COCO, "root": "."}, "schedule": dict(_SCHEDULE)}
    return Checkpoint(path=path, step=0, config=config, classes=classes, model=weights, ema=None, state={})


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file by name, without the `module.` of distributed training; nothing else is unpickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a state dict of tensors: {reason}") from None
    found = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: holds no state dict (names to tensors, or that under `model`)")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def layout_of(state_dict: Mapping[str, Tensor], path: Path) -> str:
    """torchvision, official, adelaidet or detectron2, by the names; CheckpointError for others."""
    marks = {
        "torchvision": "head.classification_head.cls_logits.weight",
        "official": "rpn.head.cls_logits.weight",
        "adelaidet": "proposal_generator.fcos_head.cls_logits.weight",
        "detectron2": "head.cls_score.weight",
    }
    for layout, key in marks.items():
        if key in state_dict:
            return layout
    raise CheckpointError(f"{path}: the names are those of no known FCOS; one of {', '.join(marks.values())} is needed")


def _convert(state_dict: Mapping[str, Tensor], layout: str) -> _Read:
    match layout:
        case "torchvision":
            return _Read(from_torchvision(state_dict), {})
        case "official":
            return _Read(from_official(state_dict), {})
        case _:
            weights, mean, std = from_detectron2(state_dict)
            pixels: dict[str, Any] = {}
            if mean is not None and std is not None:
                pixels = {"pixel_mean": [m / 255 for m in mean], "pixel_std": [s / 255 for s in std]}
            return _Read(weights, pixels)


def _coco_classes(weights: dict[str, Tensor], path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights of COCO's 80 classes in order of their ids, and the names; others were trained by ids up to 90."""
    names: list[str] = FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    ids = [number for number, name in enumerate(names) if name not in ("__background__", "N/A")]
    count = len(weights["head.classification.bias"])
    if count == len(names):
        keys = ("head.classification.weight", "head.classification.bias")
        weights = {**weights, **{key: weights[key][ids] for key in keys}}
    elif count != len(ids):
        raise CheckpointError(
            f"{path}: has {count} classes; only COCO's {len(ids)} (or {len(names)} ids) have known names"
        )
    return weights, tuple(names[number] for number in ids)
