"""Non-maximum suppression: which detections of an image are kept where several may be of one object."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from fcos.config.model_parts import PostprocessConfig


def apply_nms(
    config: PostprocessConfig,
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    labels: Int[Tensor, " N"],
    locations: Int[Tensor, " N"] | None,
) -> Int[Tensor, " K"]:
    """Return the indices of the boxes that the configured suppression keeps, at most `max_detections`.

    Boxes must be sorted by descending score. Boxes of equal `locations` come from one location; only set NMS uses
    them. suppression=peaks has suppressed logits before boxes were decoded (see `peaks`), so nothing is left to do.
    """
    if config.nms_corners == "inclusive":
        # Boxes that end in their last pixel: with it, overlap and areas are those of maskrcnn-benchmark's NMS.
        boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + 1), dim=1)
    groups = labels if config.nms_over == "class" else torch.zeros_like(labels)
    match config.suppression:
        case "peaks":
            return torch.arange(min(len(boxes), config.max_detections), device=boxes.device)
        case "nms":
            return standard_nms(boxes, scores, groups, config.nms_threshold, config.max_detections)
        case "set_nms":
            assert locations is not None, "set NMS needs locations"
            return set_nms(boxes, groups, locations, config.nms_threshold, config.max_detections)


def standard_nms(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    groups: Int[Tensor, " N"],
    iou_threshold: float,
    limit: int,
) -> Int[Tensor, " K"]:
    """Return the indices of the first `limit` boxes kept by NMS within groups.

    Boxes must be sorted by score. NMS is greedy: what it keeps of the best n boxes is a prefix of what it keeps of all.
    So it runs on a prefix, which grows until enough boxes are kept.
    """
    # batched_nms separates groups by shifting them apart, which takes coordinates from 0 on; boxes that are not clipped
    # have others, and nothing changes for those that are.
    if len(boxes):
        boxes = boxes - boxes.amin().clamp(max=0)
    # A trained head detects every object from many locations; a call costs more than some hundred boxes.
    prefix = 8 * limit
    while True:
        keep: Tensor = batched_nms(boxes[:prefix], scores[:prefix], groups[:prefix], iou_threshold)
        if len(keep) >= limit or prefix >= len(boxes):
            return keep[:limit]
        prefix *= 4


# Boxes compared with each other at a time; bounds the memory.
BLOCK = 1 << 10


def set_nms(
    boxes: Float[Tensor, "N 4"],
    groups: Int[Tensor, " N"],
    locations: Int[Tensor, " N"],
    iou_threshold: float,
    limit: int,
) -> Int[Tensor, " K"]:
    """Return the indices of the first `limit` boxes kept by set NMS.

    Boxes must be sorted by score. A box is suppressed by a kept box of higher score if both are of one group but of
    different locations, and their IoU is above the threshold. Works block by block: first against the boxes kept so
    far, then within the block.
    """
    kept = torch.zeros(0, dtype=torch.long, device=boxes.device)
    for start in range(0, len(boxes), BLOCK):
        block = torch.arange(start, min(start + BLOCK, len(boxes)), device=boxes.device)
        alive = ~_suppresses(boxes, groups, locations, kept, block, iou_threshold).any(0)
        within = _suppresses(boxes, groups, locations, block, block, iou_threshold).triu(1)
        kept = torch.cat((kept, block[_greedy(alive, within)]))[:limit]
        if len(kept) == limit:
            break
    return kept


def _suppresses(
    boxes: Tensor,
    groups: Tensor,
    locations: Tensor,
    better: Int[Tensor, " I"],
    worse: Int[Tensor, " J"],
    threshold: float,
) -> Bool[Tensor, "I J"]:
    """Return whether each of the better boxes would suppress each of the worse ones if it were kept."""
    # In double precision, as torchvision's NMS: 3 / 5 is above 0.6 there.
    overlap = box_iou(boxes[better], boxes[worse]).double() > threshold
    comparable: Bool[Tensor, "I J"] = (groups[better, None] == groups[worse]) & (
        locations[better, None] != locations[worse]
    )
    return comparable.logical_and(overlap)


def _greedy(alive: Bool[Tensor, " N"], suppresses: Bool[Tensor, "N N"]) -> Bool[Tensor, " N"]:
    """Return which of the alive boxes greedy NMS keeps.

    A fixed-point iteration: each round settles at least one more box, from the first on, since a box is final once all
    boxes before it are. It ends at the result of a loop over the boxes.
    """
    kept = alive
    while True:
        remaining = alive & ~(suppresses & kept[:, None]).any(0)
        if torch.equal(remaining, kept):
            return kept
        kept = remaining
