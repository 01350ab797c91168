"""Which of several detections of an image are kept where they may be of one object."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from fcos.config.model_parts import PostprocessConfig


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


# Candidates compared with each other at a time, which bounds the memory.
BLOCK = 1 << 10


def set_nms_of_best(
    boxes: Float[Tensor, "N 4"],
    groups: Int[Tensor, " N"],
    locations: Int[Tensor, " N"],
    iou_threshold: float,
    limit: int,
) -> Int[Tensor, " K"]:
    """Indices of the first `limit` boxes that greedy NMS keeps, boxes coming best first.

    A box is suppressed by a better one that is kept, is of its group, overlaps it by more than the threshold, and is of
    another location. Block by block: what is kept of the blocks before has its say first, and no more than `limit`.
    """
    kept = torch.zeros(0, dtype=torch.long, device=boxes.device)
    for first in range(0, len(boxes), BLOCK):
        own = torch.arange(first, min(first + BLOCK, len(boxes)), device=boxes.device)
        alive = ~_suppress(boxes, groups, locations, kept, own, iou_threshold).any(0)
        among = _suppress(boxes, groups, locations, own, own, iou_threshold).triu(1)
        kept = torch.cat((kept, own[_greedy(alive, among)]))[:limit]
        if len(kept) == limit:
            break
    return kept


def _suppress(
    boxes: Tensor, groups: Tensor, locations: Tensor, one: Int[Tensor, " I"], other: Int[Tensor, " J"], threshold: float
) -> Bool[Tensor, "I J"]:
    """Whether each of the one would suppress each of the other, were it better and kept."""
    # As torchvision's NMS, which compares in double precision: 3 / 5 is more than 0.6.
    overlap = box_iou(boxes[one], boxes[other]).double() > threshold
    rivals: Bool[Tensor, "I J"] = (groups[one, None] == groups[other]) & (locations[one, None] != locations[other])
    return rivals.logical_and(overlap)


def _greedy(alive: Bool[Tensor, " N"], suppresses: Bool[Tensor, "N N"]) -> Bool[Tensor, " N"]:
    """Which of the living are kept: the first, and each that no kept one before it suppresses.

    Starting from all of them, every round settles at least one more, from the first on: what comes before a settled one
    no longer changes. So it ends, at what a loop over them finds.
    """
    kept = alive
    while True:
        rest = alive & ~(suppresses & kept[:, None]).any(0)
        if torch.equal(rest, kept):
            return kept
        kept = rest
