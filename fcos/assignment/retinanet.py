"""RetinaNet's matching: an anchor answers for the box that it overlaps most, if by enough (arXiv 1708.02002, 4.1)."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.assignment.anchors import anchors_of
from fcos.config.choices import LowQuality
from fcos.geometry import ious
from fcos.structures import NO_OBJECT, Locations, Targets

FOREGROUND, BACKGROUND = 0.5, 0.4
LEAST_IOU = {"none": math.inf, "iou0_4": 0.4, "all": 0.0}
# Pairs of a box and an anchor tested at a time, which bounds the memory; an image's anchors stay together.
CPU_BUDGET = 1 << 20
GPU_BUDGET = 1 << 26


def match(
    targets: Targets, locations: Locations, low_quality: LowQuality
) -> tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]]:
    """Index of the box that each anchor answers for, or NO_OBJECT, and which anchors are left out of the loss.

    From an IoU of 0.5 on an anchor answers for the box that it overlaps most, ties to the first; below, where it is
    the best anchor of some box and reaches the least IoU of `low_quality`, it answers for its own best box all the
    same. What else lies between 0.4 and 0.5 is neither positive nor negative.
    """
    batch, boxes = targets.valid.shape
    anchors = anchors_of(locations)
    best = conflicts.nobody(batch, len(anchors), anchors.device)
    overlap = torch.zeros(best.shape, device=anchors.device)
    kept = torch.zeros(best.shape, dtype=torch.bool, device=anchors.device)
    budget = CPU_BUDGET if best.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // (batch * len(anchors)))
    for first in range(0, boxes, step):
        part = slice(first, first + step)
        iou = ious(targets.boxes[:, part, None], anchors).where(targets.valid[:, part, None], 0.0)
        torch.maximum(overlap, iou.amax(1), out=overlap)
        kept |= _best_of_boxes(iou, LEAST_IOU[low_quality])
        own = torch.arange(first, first + iou.shape[1], device=iou.device)[:, None]
        claims = conflicts.claim(conflicts.in_order(-iou), own)
        torch.minimum(best, claims.where(iou > 0, conflicts.NOBODY).amin(1), out=best)
    positive = (overlap >= FOREGROUND) | kept
    return conflicts.winners(best).where(positive, NO_OBJECT), ~positive & (overlap >= BACKGROUND)


def _best_of_boxes(iou: Float[Tensor, "B M P"], least: float) -> Bool[Tensor, "B P"]:
    """The anchors that reach the largest IoU of some box, if that is enough."""
    top = iou.amax(2, keepdim=True)
    return ((iou == top) & (top >= least) & (top > 0)).any(1)
