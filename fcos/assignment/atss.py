"""Adaptive training sample selection: a box's own overlaps say how much is enough (ATSS, arXiv 1912.02424, section 4).

A box's k nearest locations of a level lie among its k + 1 nearest columns and rows, so only that window is looked at.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.assignment.anchors import anchors_of
from fcos.geometry import ious, strictly_inside
from fcos.structures import Locations, Targets

# Window positions tested at a time, which bounds the memory.
CPU_BUDGET = 1 << 18
GPU_BUDGET = 1 << 24
# Where all overlaps are alike, their mean may be off by a rounding and must not shut out every one of them.
ROUNDING = 1e-6


def match(targets: Targets, locations: Locations, candidates_per_level: int) -> Int[Tensor, "B P"]:
    """Index of the box that each location answers for, or NO_OBJECT.

    Candidates of a box are on each level the `candidates_per_level` (k) locations nearest to its center, ties to the
    first; those whose anchor, a square of 8 strides, overlaps the box by the mean plus the standard deviation of all
    candidates' IoU or more are positive if they lie inside of the box. Of several boxes the largest IoU wins, ties
    to the first.
    """
    batch, boxes = targets.valid.shape
    anchors = anchors_of(locations)
    best = conflicts.nobody(batch, locations.xy.shape[0], targets.boxes.device)
    budget = CPU_BUDGET if best.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // (batch * (candidates_per_level + 2) ** 2))
    for first in range(0, boxes, step):
        part = slice(first, first + step)
        own = targets.boxes[:, part]
        places = nearest(own, locations, candidates_per_level)
        iou = ious(own[..., None, :], anchors[places])
        deviation = iou.std(-1, correction=1 if iou.shape[-1] > 1 else 0)
        enough = iou >= (iou.mean(-1) + deviation - ROUNDING)[..., None]
        inside = strictly_inside(locations.xy[places], own[..., None, :])
        conflicts.stake(best, places, -iou, enough & inside & targets.valid[:, part, None], first)
    return conflicts.winners(best)


def nearest(boxes: Float[Tensor, "B M 4"], locations: Locations, count: int) -> Int[Tensor, "B M K"]:
    """The `count` locations of each level, or all of a smaller one, whose distance to the box's center is least.

    Of equal distances the first location comes first.
    """
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    found, start = [], 0
    for (rows, columns), origin, step in zip(locations.shapes, locations.origins, locations.steps, strict=True):
        column, far_x = _axis(centers[..., 0], origin[0], step[0], columns, count)
        row, far_y = _axis(centers[..., 1], origin[1], step[1], rows, count)
        places = (start + row * columns)[..., :, None] + column[..., None, :]
        far = far_y[..., :, None] + far_x[..., None, :]
        order = far.flatten(-2).argsort(dim=-1, stable=True)[..., :count]
        found.append(places.flatten(-2).gather(-1, order))
        start += rows * columns
    return torch.cat(found, dim=-1)


def _axis(
    center: Float[Tensor, "B M"], origin: float, step: float, size: int, count: int
) -> tuple[Int[Tensor, "B M W"], Float[Tensor, "B M W"]]:
    """Grid positions in one axis among which the nearest `count` are, in order, and their squared distances."""
    # One more for a tie, and one more for the rounding of the division.
    width = min(size, count + 2)
    first = ((center - origin) / step - count / 2).floor().clamp(0, size - width)
    position = first[..., None] + torch.arange(width, dtype=torch.float32, device=center.device)
    return position.long(), (origin + position * step - center[..., None]).square()
