"""Published detectors as checkpoints: the preset of a model, and a weights file of another implementation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

from fcos.config.presets import load_presets
from fcos.errors import ConfigError, suggest
from fcos.model.weights_file import read_tensors
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.training.checkpoint import Checkpoint
from fcos.weights.detectron2 import from_detectron2
from fcos.weights.names import WeightsError
from fcos.weights.official import from_official
from fcos.weights.torchvision import from_torchvision

# Mean of red, green, blue in 0..255, which is subtracted for Caffe's ResNets without a division.
OFFICIAL_MEAN = (122.7717, 115.9465, 102.9801)
DETECTRON2_MEAN = (123.675, 116.28, 103.53)
# Number of blocks of the fourth stage -> backbone.
DEPTHS = {6: "resnet50", 23: "resnet101"}


@dataclass(frozen=True)
class _Published:
    """A published model: the layout of its weights, and the pixel mean of a Caffe backbone."""

    # See `detect_layout`.
    layout: str
    # In 0..255, for ResNets of Caffe; None for torchvision's backbone.
    caffe_mean: tuple[float, float, float] | None


_PUBLISHED: Mapping[str, _Published] = {
    "torchvision": _Published("torchvision", None),
    "official_v1": _Published("official", OFFICIAL_MEAN),
    "official_improved": _Published("official", OFFICIAL_MEAN),
    "adelaidet": _Published("adelaidet", DETECTRON2_MEAN),
    "detectron2": _Published("detectron2", DETECTRON2_MEAN),
}
MODELS = tuple(_PUBLISHED)
COCO: Mapping[str, Any] = {
    "name": "coco",
    "train": {"annotations": "annotations/instances_train2017.json", "images": "train2017"},
    "val": {"annotations": "annotations/instances_val2017.json", "images": "val2017"},
    "short_sides": [800],
    "long_side": 1333,
}
# Required by the schema; not used without training.
_SCHEDULE: Mapping[str, Any] = {"batch_size": 16, "steps": 1, "optimizer": "sgd", "decay": "none"}


@dataclass(frozen=True)
class _Converted:
    """Weights under our names, and the pixel statistics in the file."""

    weights: dict[str, Tensor]
    pixels: dict[str, Any]


def model_values(name: str) -> dict[str, Any]:
    """Return the model section of a published detector as plain values, from the preset of its name.

    Raises ConfigError with suggestions for other names, and where there are no presets.
    """
    if name not in MODELS:
        hint = suggest(name, MODELS) or f"there are {', '.join(MODELS)}"
        raise ConfigError(f"--model {name}: no such published model; {hint}")
    values = load_presets()[name].model_dump(mode="json")
    mean = _PUBLISHED[name].caffe_mean
    backbone = {**values["backbone"], "weights": None, "stride_in_1x1": mean is not None}
    return {**values, "backbone": backbone, **({} if mean is None else _pixels(mean, (1.0, 1.0, 1.0)))}


def _pixels(mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Convert mean and standard deviation from 0..255 to 0..1."""
    return {"pixel_mean": [value / 255 for value in mean], "pixel_std": [value / 255 for value in std]}


def load_published(path: Path, model: str | None, *, first_preset: bool = False) -> Checkpoint:
    """Load a weights file as a checkpoint of step 0 on COCO 2017, whose data.root is still to be set.

    `model` is one of MODELS; None takes the only one of the file's layout, with `first_preset` the first of several.
    Classes are COCO's 80. Raises CheckpointError for a file that is not such a state dict, and ConfigError for a model
    of another layout.
    """
    state_dict = read_state_dict(path)
    layout = detect_layout(state_dict, path)
    candidates = [name for name, published in _PUBLISHED.items() if published.layout == layout]
    if model is None and len(candidates) > 1 and not first_preset:
        raise ConfigError(
            f"{path}: the names are those of the {layout} code, which has several models; "
            f"give --model {' or '.join(candidates)}"
        )
    values = model_values(candidates[0] if model is None else model)
    if model is not None and model not in candidates:
        raise ConfigError(f"--model {model}: {path} has the names of {layout}; it is {' or '.join(candidates)}")
    try:
        converted = _convert(state_dict, layout)
    except WeightsError as error:
        raise CheckpointError(f"{path}: {error}") from None
    blocks = sum(key.startswith("backbone.c4.") and key.endswith(".conv1.weight") for key in converted.weights)
    if blocks not in DEPTHS:
        raise CheckpointError(f"{path}: its fourth stage has {blocks} blocks; ResNet-50 has 6, ResNet-101 has 23")
    values = {**values, **converted.pixels, "backbone": {**values["backbone"], "name": DEPTHS[blocks]}}
    weights, classes = _coco_classes(converted.weights, path)
    config = {"model": values, "data": {**COCO, "root": "."}, "schedule": dict(_SCHEDULE)}
    return Checkpoint(path=path, step=0, config=config, classes=classes, model=weights, averages={}, state={})


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .pth or .safetensors file by name (see `read_tensors`); raises CheckpointError."""
    try:
        return read_tensors(path)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def detect_layout(state_dict: Mapping[str, Tensor], path: Path) -> str:
    """Return the layout by the names: torchvision, official, adelaidet or detectron2; CheckpointError for others."""
    keys_by_layout = {
        "torchvision": "head.classification_head.cls_logits.weight",
        "official": "rpn.head.cls_logits.weight",
        "adelaidet": "proposal_generator.fcos_head.cls_logits.weight",
        "detectron2": "head.cls_score.weight",
    }
    for layout, key in keys_by_layout.items():
        if key in state_dict:
            return layout
    raise CheckpointError(
        f"{path}: the names are those of no known FCOS; one of {', '.join(keys_by_layout.values())} is needed"
    )


def _convert(state_dict: Mapping[str, Tensor], layout: str) -> _Converted:
    match layout:
        case "torchvision":
            return _Converted(from_torchvision(state_dict), {})
        case "official":
            return _Converted(from_official(state_dict), {})
        case _:
            weights, mean, std = from_detectron2(state_dict)
            return _Converted(weights, {} if mean is None or std is None else _pixels(mean, std))


def _coco_classes(weights: dict[str, Tensor], path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights of COCO's 80 classes in order of their ids, and the class names.

    Heads with one class per id, up to 90, are reduced to these.
    """
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
