"""Which of several detections of an image are kept where they may be of one object."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import batched_nms

from fcos.model_parts import PostprocessConfig
from fcos.set_nms import set_nms_of_best


def survivors(
    rule: PostprocessConfig,
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    labels: Int[Tensor, " N"],
    locations: Int[Tensor, " N"] | None,
) -> Int[Tensor, " K"]:
    """Indices of what the rule keeps of boxes that come best first, at most its `max_detections`.

    `locations` tell which boxes come from one location; only set NMS asks. Peaks were found before there were boxes.
    """
    groups = labels if rule.nms_over == "class" else torch.zeros_like(labels)
    match rule.suppression:
        case "peaks":
            return torch.arange(min(len(boxes), rule.max_detections), device=boxes.device)
        case "nms":
            return nms_of_best(boxes, scores, groups, rule.nms_threshold, rule.max_detections)
        case "set_nms":
            assert locations is not None, "set NMS is about locations"
            return set_nms_of_best(boxes, groups, locations, rule.nms_threshold, rule.max_detections)


def nms_of_best(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    labels: Int[Tensor, " N"],
    iou_threshold: float,
    limit: int,
) -> Int[Tensor, " K"]:
    """Indices of the first `limit` boxes that class-wise NMS keeps; boxes must come best first.

    NMS is greedy, so what it keeps of the best n is the beginning of what it keeps of all: the prefix grows only
    until enough are kept.
    """
    # A trained head finds every object from many locations, and a call costs more than some hundred boxes.
    prefix = 8 * limit
    while True:
        keep: Tensor = batched_nms(boxes[:prefix], scores[:prefix], labels[:prefix], iou_threshold)
        if len(keep) >= limit or prefix >= len(boxes):
            return keep[:limit]
        prefix *= 4
