"""Set NMS: what comes from one location is never suppressed by each other (arXiv 2003.09163, section 3.3)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

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
