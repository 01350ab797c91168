"""Post-processing of small pyramids."""

from typing import Any

import torch

from fcos.config.model_parts import PostprocessConfig
from fcos.postprocess.decode import Postprocess

SHAPES, STRIDES, IMAGE = ((8, 8), (4, 4)), (8, 16), (64, 64)


def make_postprocess(**changes: Any) -> Postprocess:
    values: dict[str, Any] = {
        "quality": "branch", "score": "sqrt", "score_threshold": 0.05, "threshold_on": "classification",
        "topk_per_level": 1000, "nms_threshold": 0.6, "max_detections": 100, "multi_label": True,
    }  # fmt: skip
    box_convention = changes.pop("box_convention", "plain")
    return Postprocess(PostprocessConfig(**{**values, **changes}), box_convention)


def sizes(images: int, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.tensor([[height, width]] * images)
