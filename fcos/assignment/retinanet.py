"""RetinaNet's matching of anchors to boxes by IoU (arXiv 1708.02002, section 4.1)."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.assignment.anchors import anchor_boxes
from fcos.config.choices import LowQuality
from fcos.geometry import ious
from fcos.structures import NO_OBJECT, Locations, Targets

FOREGROUND, BACKGROUND = 0.5, 0.4
MIN_IOU = {"none": math.inf, "iou0_4": 0.4, "all": 0.0}
# Pairs of a box and an anchor tested at a time; bounds the memory. The anchors of an image are not split.
CPU_BUDGET = 1 << 20
GPU_BUDGET = 1 << 26


def match_retinanet(
    targets: Targets, locations: Locations, low_quality: LowQuality
) -> tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]]:
    """Return the index of the box assigned to each anchor, and which anchors the loss ignores.

    An anchor of IoU >= 0.5 with some box is assigned to the box of largest IoU, the first of equals. Below 0.5, an
    anchor that is the best one of some box, with at least the IoU of `low_quality`, is assigned to its own best box
    too. All others get NO_OBJECT; those of IoU >= 0.4 are ignored: neither positive nor negative.
    """
    batch, boxes = targets.valid.shape
    anchors = anchor_boxes(locations)
    keys = conflicts.empty_keys(batch, len(anchors), anchors.device)
    best_iou = torch.zeros(keys.shape, device=anchors.device)
    low_quality_match = torch.zeros(keys.shape, dtype=torch.bool, device=anchors.device)
    budget = CPU_BUDGET if keys.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // (batch * len(anchors)))
    for start in range(0, boxes, step):
        chunk = slice(start, start + step)
        iou = ious(targets.boxes[:, chunk, None], anchors).where(targets.valid[:, chunk, None], 0.0)
        torch.maximum(best_iou, iou.amax(1), out=best_iou)
        low_quality_match |= _best_anchors(iou, MIN_IOU[low_quality])
        indices = torch.arange(start, start + iou.shape[1], device=iou.device)[:, None]
        candidates = conflicts.pack_key(conflicts.sortable_int32(-iou), indices)
        torch.minimum(keys, candidates.where(iou > 0, conflicts.EMPTY_KEY).amin(1), out=keys)
    positive = (best_iou >= FOREGROUND) | low_quality_match
    return conflicts.unpack_index(keys).where(positive, NO_OBJECT), ~positive & (best_iou >= BACKGROUND)


def _best_anchors(iou: Float[Tensor, "B M P"], min_iou: float) -> Bool[Tensor, "B P"]:
    """Return the anchors that have the largest IoU of some box, where that is at least `min_iou`."""
    top = iou.amax(2, keepdim=True)
    return ((iou == top) & (top >= min_iou) & (top > 0)).any(1)
