"""Convert state dicts of torchvision's fcos_resnet50_fpn to ours (model=torchvision) and back."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fcos.weights.names import WeightsError, require_same_keys, tower_key

__all__ = ["WeightsError", "from_torchvision", "to_torchvision"]

# torchvision's key -> ours. A tower in torchvision is one Sequential of conv, norm, ReLU, conv, ...
_STAGES = {
    "layer1": "c2",
    "layer2": "c3",
    "layer3": "c4",
    "layer4": "c5",
    "conv1": "stem.conv1",
    "bn1": "stem.bn1",
}
_PREDICTIONS = {
    "classification_head.cls_logits": "classification",
    "regression_head.bbox_reg": "regression",
    "regression_head.bbox_ctrness": "quality",
}


def from_torchvision(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert torchvision's weights to our names. Class c stays class c; torchvision never uses class 0.

    Raises WeightsError naming missing and unexpected keys.
    """
    expected = _torchvision_keys()
    weights = {key: value for key, value in state_dict.items() if not key.endswith("num_batches_tracked")}
    require_same_keys(weights, expected, "torchvision's fcos_resnet50_fpn")
    return {_to_ours(key): value for key, value in weights.items()}


def to_torchvision(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert our weights of model=torchvision to torchvision's names.

    Raises WeightsError naming missing and unexpected keys.
    """
    names = {_to_ours(key): key for key in _torchvision_keys()}
    weights = {key: value for key, value in state_dict.items() if not key.endswith("num_batches_tracked")}
    require_same_keys(weights, names, "model=torchvision")
    return {names[key]: value for key, value in weights.items()}


def _to_ours(key: str) -> str:
    if match := re.fullmatch(r"backbone\.body\.([^.]+)\.(.+)", key):
        return f"backbone.{_STAGES[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"backbone\.fpn\.extra_blocks\.p(\d)\.(.+)", key):
        return f"fpn.extra_blocks.convs.{int(match[1]) - 6}.{match[2]}"
    if match := re.fullmatch(r"head\.(classification|regression)_head\.conv\.(\d+)\.(.+)", key):
        return tower_key(match[1], int(match[2]), match[3])
    if match := re.fullmatch(r"head\.(.+)\.(weight|bias)", key):
        return f"head.{_PREDICTIONS[match[1]]}.{match[2]}"
    return key.removeprefix("backbone.")


def _torchvision_keys() -> set[str]:
    from torchvision.models.detection import fcos_resnet50_fpn

    with torch.device("meta"):
        model = fcos_resnet50_fpn(weights=None, weights_backbone=None)
    return {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
